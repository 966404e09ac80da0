"""The distribution of a vector's touched coordinates, and ranges with equal work.

`touched` and `starts` are as in `fedmpi.kernels.merge`.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._jit import kernel
from fedmpi.kernels.pack import count


@kernel
def loads(
    touched: NDArray[np.uint8], starts: NDArray[np.int64], width: int, sample: int,
    out: NDArray[np.int64],
) -> None:
    """Count the touched coordinates in bins of `width` coordinates, into int64[bins] `out`.

    Parameters
    ----------
    touched : uint8[V]
    starts : int64[U+1], or empty
    width : int
    sample : int
        If units are single coordinates, only the first 1 / `sample` of each bin is counted,
        and the count is multiplied by `sample`.
    out : int64[bins], changed in place; bins * width is at least n
    """
    out[:] = 0
    if starts.size == 0:
        for b in range(out.size):
            out[b] = sample * count(touched[b * width : b * width + width // sample])[0]
        return
    for u in range(starts.size - 1):
        if touched[u]:
            a = starts[u]
            while a < starts[u + 1]:
                b = min(starts[u + 1], (a // width + 1) * width)
                out[a // width] += b - a
                a = b


@kernel
def cut(
    loads: NDArray[np.int64], width: int, size: int, shares: NDArray[np.int64],
    bounds: NDArray[np.int64],
) -> None:
    """Cut a range of coordinates so that the parts have loads in proportion to `shares`.

    Parameters
    ----------
    loads : int64[P, bins]
        Touched coordinates per rank and bin of `width` coordinates, assumed to be spread
        evenly within a bin. Each coordinate adds 1 to the load, since its mark is read, and
        a touched one adds 16 more.
    width, size : int
        The bins cover the coordinates 0..size-1; width is a multiple of 64.
    shares : int64[parts]
        Positive.
    bounds : int64[parts + 1], changed in place
        On entry, the first and the last element hold the range. The cuts written in between
        are rounded down to multiples of 64.

    Notes
    -----
    Only integers are used, so that every rank computes the same cuts. With 64 bins they do not
    overflow int64 while P size**2 is at most 2**76: 4,096 ranks that touch all of 2**32
    coordinates.
    """
    bins = loads.shape[1]
    below = np.zeros(bins + 1, np.int64)
    for b in range(bins):
        load = np.int64(max(min(size - b * width, width), 0))
        for r in range(loads.shape[0]):
            load += 16 * loads[r, b]
        below[b + 1] = below[b] + load
    lo, hi = bounds[0], bounds[-1]
    first, last = _load(below, width, size, lo), _load(below, width, size, hi)
    each, rest = divmod(last - first, shares.sum())
    b, share = 0, np.int64(0)
    for part in range(shares.size - 1):
        share += shares[part]
        aim = first + each * share + rest * share // shares.sum()
        while b < bins - 1 and below[b + 1] <= aim:
            b += 1
        filled = max(min(size - b * width, width), 0) // 64
        place = b * width + 64 * ((aim - below[b]) * filled // max(below[b + 1] - below[b], 1))
        bounds[part + 1] = min(max(place, lo), hi)


@kernel
def _load(below: NDArray[np.int64], width: int, size: int, place: int) -> int:
    """Return the load of the coordinates before `place`; below[b] is that of bins 0 to b - 1."""
    b = min(place // width, below.size - 2)
    filled = max(min(size - b * width, width), 1)
    each, rest = divmod(below[b + 1] - below[b], filled)
    load: int = below[b] + each * (place - b * width) + rest * (place - b * width) // filled
    return load
