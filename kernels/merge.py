"""Sparse vectors of sums: conversion from dense to list and back, and addition in place.

A vector of n coordinates is divided into U units, blocks of coordinates given by
`starts` (int64[U+1]). An empty `starts` means that every coordinate is a unit of its
own. `touched` (uint8[U]) is 1 for the units in the support. A list is the touched
units in ascending order, the values of their blocks one after the other, and one
weight per unit. The support is always given by `touched`, never inferred from the values,
since a touched coordinate may be zero. Values and weights of other units are zero.

Weights come in three shapes: none (size 0), one per unit, and for lists one for all units.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._jit import kernel
from fedmpi.kernels._vector import clear8, prefetch

AHEAD = 32  # how many coordinates of a list ahead of the current one to prefetch


@kernel
def span(starts: NDArray[np.int64], lo: int, hi: int) -> tuple[int, int]:
    """Return (first, last): units first..last-1 of int64[U+1] `starts` overlap lo..hi-1."""
    if starts.size == 0 or lo >= hi:
        return lo, hi
    first = int(np.searchsorted(starts, lo, side="right")) - 1
    return first, int(np.searchsorted(starts, hi, side="left"))


@kernel
def extent(starts: NDArray[np.int64], lo: int, hi: int, units: NDArray[np.uint32]) -> np.int64:
    """Return the size in lo..hi-1 of the blocks of uint32[m] `units`, all of which overlap it."""
    if starts.size == 0:
        return np.int64(units.size)
    size = np.int64(0)
    for u in units:
        size += min(starts[u + 1], hi) - max(starts[u], lo)
    return size


@kernel
def take(
    total: NDArray[Any], cover: NDArray[Any], starts: NDArray[np.int64], lo: int, hi: int,
    units: NDArray[np.uint32], values: NDArray[Any], weights: NDArray[Any],
) -> None:
    """Copy the units of a list out of a vector, the reverse of `add_list`.

    Parameters
    ----------
    total : T[n]
    cover : C[U], or empty to copy no weights
    starts : int64[U+1], or empty
    lo, hi : int
        Blocks are clipped to the coordinates lo..hi-1.
    units : uint32[m]
        Ascending; each must overlap the range.
    values : T[k], weights : C[m] or empty, changed in place
        k is the result of `extent`.

    Notes
    -----
    Memory traffic: 4 bytes per unit, and twice the size of values and weights.
    """
    if starts.size == 0:
        for j in range(units.size):
            prefetch(total, units[min(j + AHEAD, units.size - 1)])
            values[j] = total[units[j]]
    else:
        k = np.int64(0)
        for u in units:
            for i in range(max(starts[u], lo), min(starts[u + 1], hi)):
                values[k] = total[i]
                k += 1
    if cover.size:
        for j in range(units.size):
            weights[j] = cover[units[j]]


@kernel
def copy(
    total: NDArray[Any], touched: NDArray[np.uint8], starts: NDArray[np.int64], out: NDArray[Any]
) -> None:
    """Copy the touched units of a vector T[n] `total` to T[N] `out`, in place.

    total : T[n], zero where not touched, touched : uint8[U]
    starts : int64[U+1], or empty
    out : T[N]; N at least n

    If units are single coordinates, eight are copied at a time where any of them is touched.
    """
    if starts.size == 0:
        whole = touched.size // 8
        words = touched[: 8 * whole].view(np.uint64)
        for w in range(whole):
            if words[w] != 0:
                _copy(out, total, 8 * w, 8 * w + 8)
        _copy(out, total, 8 * whole, touched.size)
        return
    for u in range(touched.size):
        if touched[u]:
            _copy(out, total, starts[u], starts[u + 1])


@kernel
def _copy(out: NDArray[Any], total: NDArray[Any], begin: int, end: int) -> None:
    for i in range(begin, end):
        out[i] = total[i]


@kernel
def clear(
    total: NDArray[Any], cover: NDArray[Any], touched: NDArray[np.uint8], starts: NDArray[np.int64]
) -> None:
    """Set the touched units of a vector to zero, in place; all other units are zero already.

    total : T[n], cover : C[U] or empty, touched : uint8[U], changed in place
    starts : int64[U+1], or empty

    Memory traffic: the marks and the touched units; single coordinates count in groups of eight.
    """
    if starts.size == 0:
        whole = touched.size // 8
        words = touched[: 8 * whole].view(np.uint64)
        for w in range(whole):
            if words[w] != 0:
                words[w] = 0
                clear8(total, 8 * w)
                if cover.size:
                    clear8(cover, 8 * w)
        total[8 * whole :] = 0
        cover[8 * whole :] = 0
        touched[8 * whole :] = 0
        return
    for u in range(touched.size):
        if touched[u]:
            total[starts[u] : starts[u + 1]] = 0
            touched[u] = 0
    cover[:] = 0


@kernel
def add_list(
    total: NDArray[Any], cover: NDArray[Any], touched: NDArray[np.uint8], starts: NDArray[np.int64],
    lo: int, hi: int, units: NDArray[np.uint32], values: NDArray[Any], weights: NDArray[Any],
    fresh: bool,
) -> None:
    """Add a list for the coordinates lo..hi-1 to a vector, in place.

    Parameters
    ----------
    total : T[n], cover : C[U] or empty, touched : uint8[V], changed in place
    starts : int64[U+1], or empty
    lo, hi : int
        The range for which the list was written; blocks are clipped to it.
    units : uint32[m]
        Ascending; each must overlap the range.
    values : T[k]
    weights : C[m], or C[1] for all units, or empty if `cover` is
    fresh : bool
        True to replace the values and weights of these units instead of adding to them.
    """
    step = 1 if weights.size == units.size else 0
    if starts.size == 0:
        for j in range(units.size):
            u, ahead = units[j], units[min(j + AHEAD, units.size - 1)]
            prefetch(total, ahead)
            prefetch(touched, ahead)
            total[u] = values[j] if fresh else total[u] + values[j]
            touched[u] = 1
        if cover.size:
            for j in range(units.size):
                u, weight = units[j], weights[j * step]
                cover[u] = weight if fresh else cover[u] + weight
        return
    k = np.int64(0)
    for j in range(units.size):
        u = np.int64(units[j])
        touched[u] = 1
        if cover.size:
            cover[u] = weights[j * step] if fresh else cover[u] + weights[j * step]
        for i in range(max(starts[u], lo), min(starts[u + 1], hi)):
            total[i] = values[k] if fresh else total[i] + values[k]
            k += 1


@kernel
def drop(
    total: NDArray[Any], cover: NDArray[Any], touched: NDArray[np.uint8], starts: NDArray[np.int64],
    lo: int, hi: int, units: NDArray[np.uint32],
) -> None:
    """Set the units of a list to zero, in place.

    Blocks are clipped to the coordinates lo..hi-1. Marks and weights are cleared only for
    units that are entirely inside the range.

    Parameters
    ----------
    total : T[n], cover : C[U] or empty, touched : uint8[V], changed in place
    starts : int64[U+1], or empty
    lo, hi : int
    units : uint32[m]
    """
    for u in units:
        a, b = np.int64(u), np.int64(u) + 1
        if starts.size:
            a, b = starts[u], starts[u + 1]
        for i in range(max(a, np.int64(lo)), min(b, np.int64(hi))):
            total[i] = 0
        if lo <= a and b <= hi:
            touched[u] = 0
            if cover.size:
                cover[u] = 0


@kernel
def _stir(state: np.uint64) -> np.uint64:
    """Return the next state of the generator xorshift64 (Marsaglia, J. Stat. Softw. 2003)."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    return state ^ (state << np.uint64(17))


@kernel
def fingerprint(touched: NDArray[np.uint8], out: NDArray[np.uint64]) -> None:
    """Write a 256-bit fingerprint of the marks uint8[U] into uint64[4] `out`.

    A byte is one mark, or eight marks as bits. Marks with the same fingerprint are treated as
    equal. Each of four lanes reads eight bytes at a time, in invertible steps, so marks that differ
    in a single word never collide.
    """
    a, b, c, d = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
    quads = touched.size // 32 * 4
    words = touched[: 8 * quads].view(np.uint64)
    for w in range(0, quads, 4):
        a = _stir(a ^ words[w])
        b = _stir(b ^ words[w + 1])
        c = _stir(c ^ words[w + 2])
        d = _stir(d ^ words[w + 3])
    for u in range(8 * quads, touched.size):
        a = _stir(a ^ np.uint64(touched[u]))
    out[0], out[1], out[2], out[3] = a, b, c, d
