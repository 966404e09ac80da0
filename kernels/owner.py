"""Owner-computes sums: one rank adds its range of everybody's contributions.

The contributions of P ranks lie in memory that all can read; the owner of a range of
coordinates clears last round's result there and adds the ranks in rank order. No
two owners write the same byte. Terms as in `fedmpi.kernels.merge`; ranges of vectors
without `starts` begin and end at multiples of 8.

The kernels work in blocks that stay in the nearest cache, so each coordinate of the
result crosses memory once, whatever the number of ranks. A contribution may be float32
while the result is int64: it is then rounded to integers here, rint(scale * value),
as in `fedmpi.kernels.sums`, and order still does not matter.
"""

import numpy as np

from fedmpi.kernels._jit import kernel
from fedmpi.kernels._vector import prefetch
from fedmpi.kernels.merge import span
from fedmpi.kernels.pack import count

BLOCK = 4096  # coordinates; 32 KiB of int64
AHEAD = 32  # entries of a list whose memory is asked for before it is their turn


@kernel
def _zero(total, cover, touched, a, b):
    """Clear the coordinates a..b-1, whole words of marks; most words hold none."""
    words = touched.view(np.uint64)
    for w in range(a // 8, b // 8):
        if words[w] != 0:
            words[w] = 0
            for i in range(8):
                total[8 * w + i] = 0
            if cover.size:
                for i in range(8):
                    cover[8 * w + i] = 0


@kernel
def forget(total, cover, touched, fresh):
    """Clear the coordinates uint32[m] `fresh` of a result, in place."""
    for j in range(fresh.size):
        if j + AHEAD < fresh.size:
            prefetch(total, fresh[j + AHEAD])
            prefetch(touched, fresh[j + AHEAD])
        total[fresh[j]] = 0
        touched[fresh[j]] = 0
    if cover.size:
        for u in fresh:
            cover[u] = 0


@kernel
def lists(total, cover, touched, lo, hi, counts, units, values, scales, weights, scan, fresh):
    """Put the sum of P lists on the coordinates lo..hi-1; units are single coordinates.

    Parameters
    ----------
    total : T[N], cover : C[N] or empty, touched : uint8[N], changed in place
        N a multiple of 8. Zero on entry, or the last result if `scan` is set.
    lo, hi : int
        Multiples of 8.
    counts : int64[P]
        Entries in each list.
    units : uint32[P, capacity]
        Ascending in each row.
    values : T[P, capacity], or float32 if T is int64
    scales : float64[P]
        What float32 values are multiplied by before rounding; else not read.
    weights : C[P, capacity] or C[P, 1]
        The weight of each entry, or one for the whole list; not read if `cover` is empty.
    scan : bool
        Clear the last result first, by its marks.
    fresh : uint32[hi - lo + 1], or empty, changed in place
        If given, the first m entries become the coordinates touched, in no order: few
        coordinates are cleared faster by `forget` than by a scan of all marks.

    Returns
    -------
    int64
        m, the touched coordinates in the range, after.
    """
    at = np.zeros(counts.size, np.int64)
    for r in range(counts.size):
        at[r] = np.searchsorted(units[r, : counts[r]], lo)
    rounded = total.itemsize > values.itemsize
    step = 1 if weights.shape[1] > 1 else 0
    marks = np.int64(0)
    for a in range(lo, hi, 8 * BLOCK):
        b = min(a + 8 * BLOCK, hi)
        if scan:
            _zero(total, cover, touched, a, b)
        for r in range(counts.size):
            first = at[r]
            last = first + np.searchsorted(units[r, first : counts[r]], b)
            at[r] = last
            where, terms = units[r, first:last], values[r, first:last]
            for u in where:
                prefetch(total, u)
                prefetch(touched, u)
            if rounded:
                for j in range(where.size):
                    total[where[j]] += np.int64(np.rint(scales[r] * np.float64(terms[j])))
            else:
                for j in range(where.size):
                    total[where[j]] += terms[j]
            if cover.size:
                for j in range(where.size):
                    cover[where[j]] += weights[r, (first + j) * step]
            if fresh.size:
                for u in where:
                    fresh[marks] = u
                    marks += 1 - np.int64(touched[u])
                    touched[u] = 1
            else:
                for u in where:
                    touched[u] = 1
        if not fresh.size:
            marks += count(touched[a:b])[0]
    return marks


@kernel
def _add(total, terms, scale, first):
    """Add one block of terms, or put it where nothing is yet; float32 may be rounded."""
    if total.itemsize > terms.itemsize:
        for i in range(total.size):
            term = np.int64(np.rint(scale * np.float64(terms[i])))
            total[i] = term if first else total[i] + term
    elif first:
        for i in range(total.size):
            total[i] = terms[i]
    else:
        for i in range(total.size):
            total[i] += terms[i]


@kernel
def dense(total, cover, touched, lo, hi, ranks, sums, covers, marks, scales):
    """Replace the coordinates lo..hi-1 by the sum of some of P vectors; units are coordinates.

    Parameters
    ----------
    total : T[N], cover : C[N] or empty, touched : uint8[N], changed in place
        N a multiple of 8. The last result on entry.
    lo, hi : int
        Multiples of 8.
    ranks : int64[k]
        The vectors to add.
    sums : T[P, N], or float32 if T is int64
        Zero where not marked: eight coordinates are added if one of them is marked.
    covers : C[P, N]
        Not read if `cover` is empty.
    marks : uint64[P, N / 8]
        Eight marks of one byte in each word.
    scales : float64[P]
        What float32 sums are multiplied by before rounding; else not read.

    Returns
    -------
    int64
        Touched coordinates in the range, after.
    """
    words = touched.view(np.uint64)
    rounded = total.itemsize > sums.itemsize
    for a in range(lo, hi, BLOCK):
        b = min(a + BLOCK, hi)
        _zero(total, cover, touched, a, b)
        for r in ranks:
            terms, scale = sums[r], scales[r]
            for w in range(a // 8, b // 8):
                if marks[r, w] == 0:
                    continue
                words[w] |= marks[r, w]
                if rounded:
                    for i in range(8):
                        term = scale * np.float64(terms[8 * w + i])
                        total[8 * w + i] += np.int64(np.rint(term))
                else:
                    for i in range(8):
                        total[8 * w + i] += terms[8 * w + i]
                if cover.size:
                    for i in range(8):
                        cover[8 * w + i] += covers[r, 8 * w + i]
    return count(touched[lo:hi])[0]


@kernel
def blocks(total, cover, touched, starts, lo, hi, sums, covers, marks, scales, seen):
    """Replace the coordinates lo..hi-1 by the sum of P vectors cut in units.

    A unit may lie in the ranges of several owners. Its mark and weight are written by
    the one that owns its first coordinate.

    Parameters
    ----------
    total : T[n], cover : C[U] or empty, touched : uint8[V], changed in place
    starts : int64[U+1]
    lo, hi : int
    sums : T[P, N], or float32 if T is int64; N at least n
    covers : C[P, V]
        Not read if `cover` is empty.
    marks : uint8[P, V]
    scales : float64[P]
        What float32 sums are multiplied by before rounding; else not read.
    seen : uint8[V]
        The marks of the last result, of our own: `touched` changes under other owners.

    Returns
    -------
    int64
        Touched coordinates in the range, after.
    """
    first, last = span(starts, lo, hi)
    size = np.int64(0)
    for u in range(first, last):
        if starts[u] >= lo:
            mark, weight = np.uint8(0), np.int64(0) * cover[:1].sum()
            for r in range(sums.shape[0]):
                mark |= marks[r, u]
                if cover.size:
                    weight += covers[r, u]
            touched[u] = mark
            if cover.size:
                cover[u] = weight
        end = min(starts[u + 1], hi)
        for a in range(max(starts[u], lo), end, BLOCK):
            b = min(a + BLOCK, end)
            empty = True
            for r in range(sums.shape[0]):
                if marks[r, u]:
                    _add(total[a:b], sums[r, a:b], scales[r], empty)
                    empty = False
            if not empty:
                size += b - a
            elif seen[u]:
                for i in range(a, b):
                    total[i] = 0
    return size
