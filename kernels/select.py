"""Exact selection of the k largest magnitudes, with error feedback, in about one pass.

Magnitudes are compared as unsigned integers, the 31 bits of |x|. These order finite numbers
as usual, with infinities above them, and NaN above infinities (by payload). So NaN is
selected first, and a damaged update shows instead of hiding in a residual. -0 and +0 are
equal. Among equal magnitudes the lowest index wins. The result is exact and deterministic.

A small sample gives a magnitude that is very likely below the k-th. One pass collects the
few coordinates at or above it, and a radix histogram of their bits (11, 10 and 10 bits)
finds the k-th among them. If the sample misleads, a histogram of all coordinates is taken,
so the result is exact in any case.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels import _radix as radix
from fedmpi.kernels._jit import kernel
from fedmpi.kernels.pack import mark

_CHUNK = 2048  # coordinates that stay in the nearest cache between two loops


@kernel
def top(
    values: NDArray[np.float32], indices: NDArray[np.uint32], picked: NDArray[np.float32]
) -> None:
    """Find the k coordinates of largest magnitude.

    Parameters
    ----------
    values : float32[n], n <= 2**32
    indices : uint32[k], changed in place
        Positions of the coordinates, ascending. The size of the array is k.
    picked : float32[k], changed in place
        The values at these positions.

    Raises
    ------
    ValueError
        If k is larger than n, or `indices` and `picked` differ in length.

    Notes
    -----
    Ties: lowest index first. NaN before infinity before numbers. Memory traffic: 4
    bytes per coordinate and 8 per coordinate selected.
    """
    _check(values, indices, picked)
    if indices.size:
        candidates = radix.candidates_of(values, indices.size)
        _finish(values, candidates, indices, picked)


@kernel
def feedback(
    update: NDArray[np.float32], residual: NDArray[np.float32], indices: NDArray[np.uint32],
    picked: NDArray[np.float32],
) -> None:
    """Add an update to the residual, move out the k largest magnitudes, and keep the rest.

    Parameters
    ----------
    update : float32[n]
    residual : float32[n], changed in place
        The residual of earlier rounds. Becomes residual + update, and 0 at the k positions.
    indices : uint32[k], changed in place
        Positions of the k largest of residual + update, ascending.
    picked : float32[k], changed in place
        residual + update at these positions, rounded once.

    Raises
    ------
    ValueError
        If k is larger than n, or arrays that belong together differ in length.

    Notes
    -----
    Error feedback as in Stich et al., NeurIPS 2018 (arXiv:1809.07599): picked and new
    residual add up to old residual + update exactly. Ties, NaN: as `top`. Memory
    traffic: 12 bytes per coordinate and 12 per coordinate selected.
    """
    _check(residual, indices, picked)
    if update.size != residual.size:
        raise ValueError("feedback: update and residual differ in length")
    floor, room = radix.guess(update, residual, indices.size)
    candidates = np.empty(room, np.uint32)
    found = 0
    for begin in range(0, residual.size, _CHUNK):
        end = min(begin + _CHUNK, residual.size)
        sums, added = residual[begin:end], update[begin:end]
        for i in range(sums.size):
            sums[i] += added[i]
        if found <= room:
            found = radix.collect(residual, begin, end, floor, candidates, found)
    if found < indices.size or found > room:
        candidates = radix.candidates_by_histogram(residual, indices.size)
        found = candidates.size
    _finish(residual, candidates[:found], indices, picked)
    for j in range(indices.size):
        residual[indices[j]] = 0


@kernel
def top_flags(values: NDArray[np.float32], count: int, flags: NDArray[np.uint8]) -> None:
    """Flag the `count` coordinates of largest magnitude.

    Parameters
    ----------
    values : float32[n]
    count : int64
    flags : uint8[n], changed in place
        1 where selected, 0 elsewhere.

    Raises
    ------
    ValueError
        If `count` is negative or larger than n, or the arrays differ in length.

    Notes
    -----
    Ties and NaN: as `top`. Memory traffic: 5 bytes per coordinate.
    """
    if count < 0 or flags.size != values.size:
        raise ValueError("top_flags: count is negative, or values and flags differ in length")
    indices, picked = np.empty(count, np.uint32), np.empty(count, np.float32)
    top(values, indices, picked)
    mark(indices, flags)


@kernel
def _check(
    values: NDArray[np.float32], indices: NDArray[np.uint32], picked: NDArray[np.float32]
) -> None:
    """Raise ValueError if k is larger than n, or `indices` and `picked` differ in length."""
    if indices.size != picked.size:
        raise ValueError("select: indices and picked differ in length")
    if indices.size > values.size:
        raise ValueError("select: more coordinates requested than exist")


@kernel
def _finish(
    values: NDArray[np.float32], candidates: NDArray[np.uint32], indices: NDArray[np.uint32],
    picked: NDArray[np.float32],
) -> None:
    """Write the k largest coordinates, all of which are among the ascending candidates."""
    magnitudes = radix.magnitudes(values, candidates)
    lowest, ties = radix.kth(magnitudes, indices.size)
    at, j = 0, 0
    while at < indices.size:
        i, bits = candidates[j], magnitudes[j]
        indices[at] = i
        picked[at] = values[i]
        tie = bits == lowest
        at += (bits > lowest) | (tie & (ties > 0))
        ties -= tie
        j += 1
