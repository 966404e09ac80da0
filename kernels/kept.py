"""Convolutions and linear layers that keep few of their weights: `conv` over kept terms only.

Arrays, offsets and runs are those of `conv`, and terms are added in the same order. So `mix`
gives the same bits as `conv.mix` does if all weights that are not kept are 0, and `correlate`
gives the same bits for every kept weight. A row adds one term after the other over as many lanes
as the registers hold: a kept weight costs its multiply-adds, and a dropped weight nothing.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels import ends, lanes
from fedmpi.kernels._jit import inlined, kernel

_MIX, _CORRELATE = 6, 3  # length of a table's header
# Vectors of 16 lanes whose sums stay in 32 registers of 16 lanes, or in 16 registers of 8.
_WIDE, _MIDDLE, _COLUMNS = (8, 4, 16) if lanes.WIDTH == 16 else (4, 2, 4)


@kernel
def mix_table(
    mask: NDArray[np.uint8], out: NDArray[np.int64], weight: NDArray[np.int64],
    bias: NDArray[np.int64], channel_weight: NDArray[np.int64], channel_src: NDArray[np.int64],
    tap_weight: NDArray[np.int64], tap_src: NDArray[np.int64], runs: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the table of `mix`, int64[.]: as `tables.mix_table`, but of kept weights only.

    Parameters
    ----------
    mask : uint8[P]
        Not 0 where an element of `weights` is kept.
    out, weight, bias, channel_weight, channel_src, tap_weight, tap_src, runs :
        As for `tables.mix_table`.

    Notes
    -----
    Runs with the same taps share their lists of terms. A kept weight takes 16 bytes for each range
    of taps that it is in.
    """
    ranges, kind = _ranges(runs)
    terms = channel_weight, channel_src, tap_weight, tap_src
    lists = _MIX + 2 * out.size + 4 * runs.shape[0]
    at = lists + out.size * ranges.shape[0] + 1
    table = np.empty(at, np.int64)
    table[0], table[1], table[2] = out.size, runs.shape[0], ranges.shape[0]
    table[3], table[4], table[5] = _MIX + out.size, _MIX + 2 * out.size, lists
    for m in range(runs.shape[0]):
        for k in range(3):
            table[table[4] + 4 * m + k] = runs[m, k]
        table[table[4] + 4 * m + 3] = kind[m]
    for o in range(out.size):
        table[_MIX + o], table[table[3] + o] = out[o], bias[o]
        for r in range(ranges.shape[0]):
            table[lists + o * ranges.shape[0] + r] = at
            most = 2 * channel_src.size * (ranges[r, 1] - ranges[r, 0])
            table = _with_room(table, at + most)
            at = _list_terms(table, at, mask, weight[o], terms, ranges[r])
    table[lists + out.size * ranges.shape[0]] = at
    return table[:at].copy()


@kernel
def _ranges(runs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct ranges of taps, int64[R, 2], and the number of each run's, int64[M]."""
    ranges, kind, found = np.empty((len(runs), 2), np.int64), np.empty(len(runs), np.int64), 0
    for m in range(len(runs)):
        r = 0
        while r < found and (ranges[r, 0] != runs[m, 3] or ranges[r, 1] != runs[m, 4]):
            r += 1
        ranges[r, 0], ranges[r, 1], kind[m] = runs[m, 3], runs[m, 4], r
        found = max(found, r + 1)
    return ranges[:found], kind


@kernel
def _list_terms(
    table: NDArray[np.int64], at: int, mask: NDArray[np.uint8], weight: int,
    terms: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    taps: NDArray[np.int64],
) -> int:
    """Write each kept term of a row to table[at], ... as its offsets in `weights` and in `src`.

    Returns the position after the last one.
    """
    channel_weight, channel_src, tap_weight, tap_src = terms
    for j in range(channel_src.size):
        for t in range(taps[0], taps[1]):
            place = weight + channel_weight[j] + tap_weight[t]
            if mask[place]:
                table[at], table[at + 1] = place, channel_src[j] + tap_src[t]
                at += 2
    return at


@kernel
def _with_room(table: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return int64[`size` or more]: the table, or a larger table with the same beginning."""
    if size <= table.size:
        return table
    larger = np.empty(2 * size, np.int64)
    for i in range(table.size):
        larger[i] = table[i]
    return larger


@kernel
def mix(
    out: NDArray[np.float32], src: NDArray[np.float32], weights: NDArray[np.float32],
    table: NDArray[np.int64], start: int, floor: float, gate: int,
) -> None:
    """Write weighted sums of shifted planes, as `conv.mix` does, over the kept weights only.

    Parameters
    ----------
    out, src, weights, start, floor, gate :
        As for `conv.mix`.
    table : int64[.]
        From `mix_table`.

    Notes
    -----
    2 FLOPs and 4 bytes from a cache for each lane and kept weight.
    """
    first = lanes.item(table, 4)
    for m in range(first, first + 4 * lanes.item(table, 1), 4):
        size, p = lanes.item(table, m + 2), 0
        while size - p >= 16 * _WIDE:
            _mix_rows(lanes.full(1, _WIDE, 0.0), out, src, weights, table, m, p, start, floor, gate)
            p += 16 * _WIDE
        while size - p >= 16 * _MIDDLE:
            _mix_rows(lanes.full(1, _MIDDLE, 0.0),
                      out, src, weights, table, m, p, start, floor, gate)  # fmt: skip
            p += 16 * _MIDDLE
        while size - p >= 32:
            _mix_rows(lanes.full(1, 2, 0.0), out, src, weights, table, m, p, start, floor, gate)
            p += 32
        while p < size:
            _mix_rows(lanes.full(1, 1, 0.0), out, src, weights, table, m, p, start, floor, gate)
            p += 16


@kernel
def _mix_rows(
    zero: NDArray[np.float32], out: NDArray[np.float32], src: NDArray[np.float32],
    weights: NDArray[np.float32], table: NDArray[np.int64], m: int, p: int, start: int,
    floor: float, gate: int,
) -> None:
    """Compute a few lanes of one run for all rows; their inputs stay in the nearest cache."""
    place, at = lanes.item(table, m) + p, lanes.item(table, m + 1) + p
    left = lanes.item(table, m + 2) - p
    ranges, lists = lanes.item(table, 2), lanes.item(table, 5) + lanes.item(table, m + 3)
    least = lanes.filled(zero, floor)
    for o in range(lanes.item(table, 0)):
        tile = zero
        if start == 1:
            tile = lanes.spread(tile, weights, table, lanes.item(table, 3) + o)
        elif start == 2:
            tile = lanes.loaded(tile, out, table, _MIX + o, place)
        row = lists + o * ranges
        for k in range(lanes.item(table, row), lanes.item(table, row + 1), 2):
            tile = lanes.outer(tile, weights, table, k, 0, src, lanes.item(table, k + 1) + at)
        tile = lanes.where_greater(least, tile, least, tile)
        if gate != 0:
            active = lanes.loaded(zero, out, table, _MIX + o, place + gate)
            tile = lanes.where_greater(active, zero, tile, zero)
        ends.store(tile, left, out, table, _MIX + o, place)


@kernel
def correlate_table(
    mask: NDArray[np.uint8], left: NDArray[np.int64], row_out: NDArray[np.int64],
    right: NDArray[np.int64], col_out: NDArray[np.int64], runs: NDArray[np.int64],
    parts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the table of `correlate`, int64[.]: as `tables.correlate_table`, of kept weights only.

    Parameters
    ----------
    mask : uint8[P]
        Not 0 where an element of `out` is kept.
    left, row_out, right, col_out, runs, parts :
        As for `tables.correlate_table`. Parts that begin with the same column must have the same
        columns. All other parts have no element of `out` in common.

    Notes
    -----
    Each part and row has a list of its columns, padded to a multiple of 4, of 16 bytes each.
    """
    lists = parts.shape[0] * left.size
    at = _CORRELATE + 6 * lists + 3 * runs.shape[0]
    table = np.empty(at, np.int64)
    table[0], table[1], table[2] = lists, _CORRELATE, _CORRELATE + 6 * lists
    for m in range(runs.shape[0]):
        for k in range(3):
            table[table[2] + 3 * m + k] = runs[m, k]
    head = _CORRELATE
    for b in range(parts.shape[0]):
        fresh = not np.any(parts[:b, 0] == parts[b, 0])
        for o in range(left.size):
            table = _with_room(table, at + 2 * (parts[b, 1] - parts[b, 0] + 3))
            count = _list_columns(table, at, mask, row_out[o], right, col_out, parts[b])
            table[head], table[head + 1], table[head + 2] = left[o], parts[b, 2], parts[b, 3]
            table[head + 3], table[head + 4], table[head + 5] = at, at + count, fresh
            at, head = at + 2 * count, head + 6
    return table[:at].copy()


@kernel
def _list_columns(
    table: NDArray[np.int64], at: int, mask: NDArray[np.uint8], row: int, right: NDArray[np.int64],
    col_out: NDArray[np.int64], part: NDArray[np.int64],
) -> int:
    """Write a row's kept columns to table[at], ...: offsets in `right`, then offsets in `out`.

    Returns the number of columns, padded to a multiple of 4 by repetitions, whose offset in
    `out` is -1.
    """
    found, outs = 0, at + part[1] - part[0] + 3
    for k in range(part[0], part[1]):
        if col_out[k] >= 0 and mask[row + col_out[k]]:
            table[at + found], table[outs + found] = right[k], row + col_out[k]
            found += 1
    whole = (found + 3) // 4 * 4
    for k in range(found, whole):
        table[at + k], table[outs + k] = table[at], -1
    for k in range(whole):
        table[at + whole + k] = table[outs + k]
    return whole


@kernel
def correlate(
    out: NDArray[np.float32], left: NDArray[np.float32], right: NDArray[np.float32],
    table: NDArray[np.int64],
) -> None:
    """Write products of planes, as `conv.correlate` adds them, to kept elements of `out` only.

    Parameters
    ----------
    out, left, right :
        As for `conv.correlate`, but kept elements of `out` are overwritten, not added to.
    table : int64[.]
        From `correlate_table`.

    Notes
    -----
    2 FLOPs and 4 bytes from a cache for each lane and kept weight.
    """
    sums, head = np.empty(16, np.float32), lanes.item(table, 1)
    for row in range(head, head + 6 * lanes.item(table, 0), 6):
        k, end = lanes.item(table, row + 3), lanes.item(table, row + 4)
        count = end - k
        while end - k >= _COLUMNS:
            _correlate_row(lanes.full(1, _COLUMNS, 0.0), _COLUMNS,
                           out, left, right, table, row, k, count, sums)  # fmt: skip
            k += _COLUMNS
        while k < end:
            _correlate_row(lanes.full(1, 4, 0.0), 4, out, left, right, table, row, k, count, sums)
            k += 4


@inlined
def _correlate_row(
    tile: NDArray[np.float32], width: int, out: NDArray[np.float32], left: NDArray[np.float32],
    right: NDArray[np.float32], table: NDArray[np.int64], row: int, k: int, count: int,
    sums: NDArray[np.float32],
) -> None:
    """Compute a few columns of one row; their sums stay in registers over all runs."""
    runs = lanes.item(table, 2)
    first, end = lanes.item(table, row + 1), lanes.item(table, row + 2)
    for m in range(runs + 3 * first, runs + 3 * end, 3):
        at, start = lanes.item(table, m), lanes.item(table, m + 1)
        size = lanes.item(table, m + 2)
        for p in range(0, size - 15, 16):
            tile = lanes.inner(tile, left, table, row, at + p, right, table, k, start + p)
        if size & 15:
            tile = ends.inner(tile, size, left, table, row, at, right, table, k, start)
    lanes.sums(tile, sums)
    fresh = lanes.item(table, row + 5)
    for c in range(width):
        place = lanes.item(table, k + count + c)
        if place >= 0:
            out[place] = sums[c] + (np.float32(0) if fresh else out[place])
