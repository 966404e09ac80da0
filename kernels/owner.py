"""Owner-computes sums: each rank adds up its own range of all ranks' contributions.

The contributions of P ranks are in memory that every rank can read. The owner of a range
of coordinates clears the last round's result in it and adds the contributions in rank
order. No two owners write the same byte. Terms are as in `fedmpi.kernels.merge`. Ranges of
vectors without `starts` begin and end at multiples of 8.

The kernels work in blocks that stay in the nearest cache, so each coordinate of the
result crosses memory once, for any number of ranks.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._jit import kernel
from fedmpi.kernels._vector import add8, clear8, marked8, positions16, prefetch
from fedmpi.kernels.merge import span
from fedmpi.kernels.pack import count as flags_set

BLOCK = 32768  # coordinates; 256 KiB of int64, which fit the second-level cache
TILE = 8192  # coordinates of a larger unit that are added rank by rank
AHEAD = 32  # how many words ahead of the current one to prefetch coordinates


@kernel
def dense(
    total: NDArray[Any], cover: NDArray[Any], touched: NDArray[np.uint8], lo: int, hi: int,
    sums: NDArray[Any], covers: NDArray[Any], marks: NDArray[np.uint64],
) -> np.int64:
    """Replace the coordinates lo..hi-1 by the sum of P vectors; units are coordinates.

    Parameters
    ----------
    total : T[N], cover : C[N] or empty, touched : uint8[N], changed in place
        N is a multiple of 8. On entry, they hold the last result.
    lo, hi : int
        Multiples of 64.
    sums : T[P, N]
        Must be zero where not marked: eight coordinates are added if one of them is marked.
    covers : C[P, N]
        Not read if `cover` is empty.
    marks : uint64[P, N / 8]
        Eight marks of one byte, 0 or 1, in each word.

    Returns
    -------
    int64
        Number of touched coordinates in the range of the new result.

    Notes
    -----
    The words that hold marks are listed before their coordinates are read: a branch would
    be mispredicted too often, and the list says what to prefetch. Memory traffic: P + 2
    bytes per coordinate, 64 bytes for each word that a rank marked, and 128 bytes for each
    word of the new and of the last result.
    """
    words, found = touched.view(np.uint64), np.int64(0)
    places = np.empty(BLOCK // 8 + AHEAD, np.uint32)
    for a in range(lo, hi, BLOCK):
        b = min(a + BLOCK, hi)
        count = _marked(words, a, b, places)
        for j in range(count):
            prefetch(total, 8 * places[j + AHEAD])
            w = places[j]
            words[w] = 0
            clear8(total, 8 * w)
            if cover.size:
                clear8(cover, 8 * w)
        for r in range(sums.shape[0]):
            _add_marked(total, cover, words, a, b, sums[r], covers[r], marks[r], places)
        found += flags_set(touched[a:b])[0]
    return found


@kernel
def _marked(words: NDArray[np.uint64], a: int, b: int, places: NDArray[np.uint32]) -> int:
    """List in `places` the words of the coordinates a..b-1 that are not 0; return their number.

    The last word is repeated AHEAD times, so that prefetching finds a word beyond the end.
    """
    count = 0
    for w in range(a // 8, b // 8, 8):
        count += positions16(w, marked8(words, w), places, count)
    for j in range(AHEAD if count else 0):
        places[count + j] = places[count - 1]
    return count


@kernel
def _add_marked(
    total: NDArray[Any], cover: NDArray[Any], words: NDArray[np.uint64], a: int, b: int,
    terms: NDArray[Any], weights: NDArray[Any], marks: NDArray[np.uint64],
    places: NDArray[np.uint32],
) -> None:
    """Add one rank's coordinates in a..b-1, eight at a time where any is marked, in place."""
    count = _marked(marks, a, b, places)
    for j in range(count):
        prefetch(terms, 8 * places[j + AHEAD])
        prefetch(total, 8 * places[j + AHEAD])
        w = places[j]
        words[w] |= marks[w]
        add8(total, terms, 8 * w)
        if cover.size:
            add8(cover, weights, 8 * w)


@kernel
def blocks(
    total: NDArray[Any], cover: NDArray[Any], touched: NDArray[np.uint8], starts: NDArray[np.int64],
    lo: int, hi: int, sums: NDArray[Any], covers: NDArray[Any], marks: NDArray[np.uint8],
    seen: NDArray[np.uint8],
) -> np.int64:
    """Replace the coordinates lo..hi-1 by the sum of P vectors that are divided into units.

    A unit may overlap the ranges of several owners. Its mark and weight are written by
    the owner of its first coordinate.

    Parameters
    ----------
    total : T[n], cover : C[U] or empty, touched : uint8[V], changed in place
    starts : int64[U+1]
    lo, hi : int
    sums : T[P, N]
        N at least n.
    covers : C[P, V]
        Not read if `cover` is empty.
    marks : uint8[P, V]
    seen : uint8[V]
        A copy of the last result's marks, because other owners write to `touched`.

    Returns
    -------
    int64
        Number of touched coordinates in the range of the new result.
    """
    first, last = span(starts, lo, hi)
    size = np.int64(0)
    for u in range(first, last):
        if starts[u] >= lo:
            mark, weight = np.uint8(0), np.int64(0) * cover[:0].sum()
            for r in range(sums.shape[0]):
                mark |= marks[r, u]
                if cover.size:
                    weight += covers[r, u]
            touched[u] = mark
            if cover.size:
                cover[u] = weight
        end = min(starts[u + 1], hi)
        for a in range(max(starts[u], lo), end, TILE):
            b = min(a + TILE, end)
            empty = True
            for r in range(sums.shape[0]):
                if marks[r, u]:
                    _add(total[a:b], sums[r, a:b], empty)
                    empty = False
            if not empty:
                size += b - a
            elif seen[u]:
                total[a:b] = 0
    return size


@kernel
def _add(total: NDArray[Any], terms: NDArray[Any], first: bool) -> None:
    """Add one block of terms to `total`, or copy it if it is the first."""
    if first:
        for i in range(total.size):
            total[i] = terms[i]
    else:
        for i in range(total.size):
            total[i] += terms[i]
