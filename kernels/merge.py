"""Sparse vectors of sums: from dense to list and back, and added in place.

A vector of n coordinates is cut into U units, blocks of coordinates given by
`starts` (int64[U+1]); an empty `starts` says that every coordinate is a unit of its
own. `touched` (uint8[V], V the next multiple of 8 above U, zero from U on) marks the
units that hold anything; a list is the touched units in ascending order, the values
of their blocks one after the other, and one weight each. Support is always marked,
never read off the values: a touched coordinate may well be zero. Where nothing is
touched, values and weights are zero; every kernel here keeps it so.

Weights come in three shapes: none (size 0), one per unit, and for lists one for all.
"""

import numpy as np

from fedmpi.kernels._jit import kernel


@kernel
def span(starts, lo, hi):
    """Return (first, last): the units first..last-1 that meet the coordinates lo..hi-1."""
    if starts.size == 0 or lo >= hi:
        return lo, hi
    first = np.searchsorted(starts, lo, side="right") - 1
    return first, np.searchsorted(starts, hi, side="left")


@kernel
def marked(words):
    """Return how many of the bytes in uint64[m] `words` are one; the others are zero.

    Bytes are added eight at a time; 31 words fit a byte-wise sum without a carry.
    """
    marks = np.int64(0)
    for w in range(0, words.size, 31):
        some = np.uint64(0)
        for word in words[w : w + 31]:
            some += word
        marks += np.int64((some * np.uint64(0x0101010101010101)) >> np.uint64(56))
    return marks


@kernel
def count(touched, starts, lo, hi):
    """Return (units, coordinates) touched among the coordinates lo..hi-1.

    Parameters
    ----------
    touched : uint8[V]
    starts : int64[U+1], or empty
    lo, hi : int
    """
    first, last = span(starts, lo, hi)
    a, b = (first + 7) // 8 * 8, last // 8 * 8
    units = marked(touched[a : max(a, b)].view(np.uint64))
    for u in range(first, min(a, last)):
        units += np.int64(touched[u])
    for u in range(max(a, b), last):
        units += np.int64(touched[u])
    if starts.size == 0:
        return units, units
    size = np.int64(0)
    for u in range(first, last):
        if touched[u]:
            size += min(starts[u + 1], hi) - max(starts[u], lo)
    return units, size


@kernel
def emit(total, cover, touched, starts, lo, hi, units, values, weights):
    """Write the touched part of the coordinates lo..hi-1 as a list.

    Parameters
    ----------
    total : T[n]
    cover : C[U], or empty to write no weights
    touched : uint8[V]
    starts : int64[U+1], or empty
    lo, hi : int
    units : uint32[m], values : T[k], weights : C[m], changed in place
        Exactly as large as `count` says; `weights` is not read if `cover` is empty.

    Notes
    -----
    Eight units are skipped at a time. Reads 1 byte per unit, moves 8 + 16 per hit.
    """
    first, last = span(starts, lo, hi)
    words = touched.view(np.uint64)
    m = k = np.int64(0)
    for word in range(first // 8, (last + 7) // 8):
        if words[word] == 0:
            continue
        for u in range(max(8 * word, first), min(8 * word + 8, last)):
            if not touched[u]:
                continue
            units[m] = u
            if cover.size:
                weights[m] = cover[u]
            m += 1
            if starts.size == 0:
                values[k] = total[u]
                k += 1
            else:
                for i in range(max(starts[u], lo), min(starts[u + 1], hi)):
                    values[k] = total[i]
                    k += 1


@kernel
def add_list(total, cover, touched, starts, lo, hi, units, values, weights):
    """Add a list of the coordinates lo..hi-1 in place; `emit` backwards.

    Parameters
    ----------
    total : T[n], cover : C[U] or empty, touched : uint8[V], changed in place
    starts : int64[U+1], or empty
    lo, hi : int
        The range that the list was written for: blocks are clipped to it.
    units : uint32[m]
        Ascending; must lie in the range.
    values : T[k]
    weights : C[m], or C[1] for all units, or empty if `cover` is

    Notes
    -----
    About 2 ns per coordinate when units are single coordinates.
    """
    step = 1 if weights.size == units.size else 0
    if starts.size == 0:
        for j in range(units.size):
            u = units[j]
            total[u] += values[j]
            touched[u] = 1
        if cover.size:
            for j in range(units.size):
                cover[units[j]] += weights[j * step]
        return
    k = np.int64(0)
    for j in range(units.size):
        u = np.int64(units[j])
        touched[u] = 1
        if cover.size:
            cover[u] += weights[j * step]
        for i in range(max(starts[u], lo), min(starts[u + 1], hi)):
            total[i] += values[k]
            k += 1


@kernel
def clear(total, cover, touched, starts, lo, hi):
    """Set the touched part of the coordinates lo..hi-1 to zero, in place.

    Marks and weights are cleared for units that lie in the range as a whole.

    Parameters
    ----------
    total : T[n], cover : C[U] or empty, touched : uint8[V], changed in place
    starts : int64[U+1], or empty
    lo, hi : int
    """
    first, last = span(starts, lo, hi)
    words = touched.view(np.uint64)
    for word in range(first // 8, (last + 7) // 8):
        if words[word] == 0:
            continue
        for u in range(max(8 * word, first), min(8 * word + 8, last)):
            if not touched[u]:
                continue
            a, b = (u, u + 1) if starts.size == 0 else (starts[u], starts[u + 1])
            for i in range(max(a, lo), min(b, hi)):
                total[i] = 0
            if lo <= a and b <= hi:
                touched[u] = 0
                if cover.size:
                    cover[u] = 0


@kernel
def list_units(flags, first, units):
    """Write the units whose flag is set: bool flags uint8[n] of the units from `first` on.

    Parameters
    ----------
    flags : uint8[n], each 0 or 1
    first : int
    units : uint32[m + 1], changed in place
        One longer than the number of flags set: a slot may be written and not used.
    """
    m = np.int64(0)
    for u in range(flags.size):
        units[m] = first + u
        m += np.int64(flags[u])


@kernel
def loads(touched, starts, width, out):
    """Count the touched coordinates in bins of `width` coordinates, into int64[bins] `out`.

    Parameters
    ----------
    touched : uint8[V]
    starts : int64[U+1], or empty
    width : int
        A multiple of 8.
    out : int64[bins], changed in place; bins * width is at least n
    """
    out[:] = 0
    if starts.size == 0:
        for b in range(out.size):
            out[b] = marked(touched[b * width : b * width + width].view(np.uint64))
        return
    for u in range(starts.size - 1):
        if touched[u]:
            a = starts[u]
            while a < starts[u + 1]:
                b = min(starts[u + 1], (a // width + 1) * width)
                out[a // width] += b - a
                a = b


@kernel
def list_loads(units, width, out):
    """Count ascending uint32[m] `units` in bins of `width`, into int64[bins] `out`.

    A binary search per bin, so the cost does not grow with the list.
    """
    below = np.int64(0)
    for b in range(out.size):
        end = np.int64(np.searchsorted(units, np.int64(b + 1) * width))
        out[b] = end - below
        below = end


@kernel
def fingerprint(touched, out):
    """Write a 128-bit fingerprint of the marks uint8[V] into int64[2] `out`.

    Two sets of marks with one fingerprint are taken as equal. Each of four lanes
    multiplies by an odd constant and folds (the step of splitmix64, Steele et al.,
    OOPSLA 2014), so that no mark can hide another.
    """
    words = touched.view(np.uint64)
    prime = np.uint64(0xBF58476D1CE4E5B9)
    a, b, c, d = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
    fold = np.uint64(29)
    quads = words.size // 4 * 4
    for w in range(0, quads, 4):
        a = (a ^ words[w]) * prime
        b = (b ^ words[w + 1]) * prime
        c = (c ^ words[w + 2]) * prime
        d = (d ^ words[w + 3]) * prime
        a, b, c, d = a ^ (a >> fold), b ^ (b >> fold), c ^ (c >> fold), d ^ (d >> fold)
    for w in range(quads, words.size):
        a = (a ^ words[w]) * prime
        a ^= a >> fold
        c = (c ^ words[w]) * prime + b
    out[0] = np.int64((a ^ (b * prime)) >> np.uint64(1))
    out[1] = np.int64((c ^ (d * prime)) >> np.uint64(1))


@kernel
def classes(weights, table, codes):
    """Code weights by a table of the distinct ones; sums of few ranks have few.

    Parameters
    ----------
    weights : int64[m] or int32[m]
        Floating-point weights are given as their bits.
    table : like weights, [256], changed in place
    codes : uint8[m], changed in place
        weights[j] is table[codes[j]].

    Returns
    -------
    int
        Entries of the table in use, or 0 if 256 are too few (or m is 0).
    """
    slots = np.full(1024, -1, np.int64)
    size = 0
    for j in range(weights.size):
        weight = weights[j]
        at = ((np.int64(weight) * np.int64(0x9E3779B1)) >> np.int64(20)) & np.int64(1023)
        while slots[at] >= 0 and table[slots[at]] != weight:
            at = (at + 1) & 1023
        if slots[at] < 0:
            if size == table.size:
                return 0
            table[size] = weight
            slots[at] = size
            size += 1
        codes[j] = slots[at]
    return size
