"""Weighted sums over clients that do not depend on the order of the clients.

Exact sums are integers: a contribution is the product of share and value as a float64,
rounded to a multiple of 2**-44 and added as int64. Integer addition is associative, so any
order, tree, number of ranks or message algorithm gives the same bits. With shares that add
up to one, a sum never exceeds the largest value. `add_exact` requires values below 2**18 in
magnitude (see `largest_kept`), far from the 2**19 at which int64 would wrap. Rounding each of
N contributions changes the sum by up to 2**-45, and the weight as well, whatever the share.
So the mean is off by at most N 2**-45 (1 + |mean|), besides its rounding to float32.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._jit import kernel
from fedmpi.kernels._llvm import unmasked
from fedmpi.kernels._whole import whole

SCALE = 2.0**44  # one unit of an exact sum is 2**-44
LIMIT = 2.0**18  # a value of this size or more does not fit an exact sum


@kernel
def largest_kept(
    starts: NDArray[np.int64], keep: NDArray[np.uint8], values: NDArray[np.float32]
) -> float:
    """Return the largest magnitude in the kept units of `values`, or inf if one is not finite.

    Parameters
    ----------
    starts : int64[U+1]
        Unit u is the block of coordinates from starts[u] to starts[u+1].
    keep : uint8[U]
        1 where a unit counts; the values of other units are not read.
    values : float32[P]

    Returns
    -------
    float64
        0.0 if nothing is kept.

    Notes
    -----
    Reads 4 bytes per kept coordinate. Bit patterns are ordered like the magnitudes, with inf and
    NaN on top, and comparing them vectorises, which a NaN test does not.
    """
    bits = values.view(np.uint32)
    top = np.uint32(0)
    if keep.size == bits.size:
        for i in range(bits.size):
            top = max(top, bits[i] & np.uint32(0x7FFFFFFF) if keep[i] else np.uint32(0))
    else:
        for u in range(keep.size):
            if keep[u]:
                for i in range(starts[u], starts[u + 1]):
                    top = max(top, bits[i] & np.uint32(0x7FFFFFFF))
    if top >= np.uint32(0x7F800000):
        return np.inf
    return np.float64(np.array([top], np.uint32).view(np.float32)[0])


@kernel
def add_exact(
    total: NDArray[np.int64], starts: NDArray[np.int64], keep: NDArray[np.uint8],
    values: NDArray[np.float32], share: float,
) -> None:
    """Add one client's values to an exact sum: total += round(share * values * 2**44).

    Parameters
    ----------
    total : int64[P], changed in place
    starts : int64[U+1]
        Unit u is the block of coordinates from starts[u] to starts[u+1].
    keep : uint8[U]
        1 where a unit is added; the values of other units do not matter.
    values : float32[P]
        Finite and below 2**18 in magnitude where kept.
    share : float64
        The client's weight; the shares of a round add up to one.

    Notes
    -----
    This is the numerator of the mean sum(a m w) / sum(a m) of every averaging method, with
    the mask m given by units. Memory traffic: 20 bytes per kept coordinate, or 21 per coordinate
    if units are coordinates, because storing all of them takes less time than storing some.
    """
    scaled = share * SCALE
    if keep.size == total.size:  # units of one coordinate: slicing would cost more than adding
        for i in range(total.size):
            total[i] = unmasked(
                total[i] + whole(scaled * np.float64(values[i])) if keep[i] else total[i]
            )
        return
    for u in range(keep.size):
        if keep[u]:
            here = total[starts[u] : starts[u + 1]]
            block = values[starts[u] : starts[u + 1]]
            for i in range(here.size):
                here[i] += whole(scaled * np.float64(block[i]))


@kernel
def add_fast(
    total: NDArray[np.float32], starts: NDArray[np.int64], keep: NDArray[np.uint8],
    values: NDArray[np.float32], share: float,
) -> None:
    """Add one client's values in plain float32: total += share * values.

    Parameters
    ----------
    total : float32[P], changed in place
    starts : int64[U+1]
    keep : uint8[U]
    values : float32[P]
    share : float64

    Notes
    -----
    The last bits of the result depend on the order of the clients. Memory traffic: 12
    bytes per kept coordinate, or 13 per coordinate if units are coordinates.
    """
    weight = np.float32(share)
    if keep.size == total.size:
        for i in range(total.size):
            total[i] = unmasked(total[i] + np.float32(weight * values[i]) if keep[i] else total[i])
        return
    for u in range(keep.size):
        if keep[u]:
            here = total[starts[u] : starts[u + 1]]
            block = values[starts[u] : starts[u + 1]]
            for i in range(here.size):
                here[i] += np.float32(weight * block[i])


@kernel
def mean(
    out: NDArray[np.float32], old: NDArray[np.float32],
    total: NDArray[np.int64] | NDArray[np.float32], cover: NDArray[np.int64] | NDArray[np.float32],
    starts: NDArray[np.int64],
) -> None:
    """Divide sums by the weights behind them; keep the old values where the weight is 0.

    Parameters
    ----------
    out : float32[P], changed in place
    old : float32[P]
        Copied for the units that no client covered; may be `out` itself.
    total : int64[P] or float32[P]
    cover : int64[U] or float32[U]
        Weight behind each unit, in the same scale as `total`.
    starts : int64[U+1]
    """
    for u in range(cover.size):
        here = out[starts[u] : starts[u + 1]]
        if cover[u] > 0:
            weight = np.float64(cover[u])
            block = total[starts[u] : starts[u + 1]]
            for i in range(here.size):
                here[i] = np.float32(np.float64(block[i]) / weight)
        else:
            for i in range(starts[u], starts[u + 1]):
                out[i] = old[i]


@kernel
def mean_with_old(
    out: NDArray[np.float32], old: NDArray[np.float32],
    total: NDArray[np.int64] | NDArray[np.float32], cover: NDArray[np.int64] | NDArray[np.float32],
    starts: NDArray[np.int64], every: float,
) -> None:
    """Divide sums by the weight of all clients; for a unit not sent, the old value counts.

    Parameters
    ----------
    out : float32[P], changed in place
    old : float32[P]
        May be `out` itself; copied for the units that no client sent.
    total : int64[P] or float32[P]
    cover : int64[U] or float32[U]
        Weight behind each unit, in the same scale as `total`.
    starts : int64[U+1]
    every : float64
        Weight of all clients, in the same scale.
    """
    for u in range(cover.size):
        weight = np.float64(cover[u])
        for i in range(starts[u], starts[u + 1]):
            if weight > 0.0:
                missing = (every - weight) * np.float64(old[i])
                out[i] = np.float32((np.float64(total[i]) + missing) / every)
            else:
                out[i] = old[i]
