"""Convolutions and linear layers, forward and backward, as sums over taps.

Arrays are flat, with the batch innermost: a channel is a plane of positions, each a block
of N lanes (the batch, filled up to a multiple of 16). Tables of offsets say what is added
to what, so one kernel serves every kernel size, stride, padding and batch, both passes,
and any choice of rows and channels: what is dropped is not in the tables.
"""

from typing import NamedTuple

import numpy as np

from fedmpi.kernels import lanes
from fedmpi.kernels._jit import kernel

SPARE = 8  # entries that follow the last row or column, so that tiles need not fit


class Mix(NamedTuple):
    """Tables of `mix`: offsets, all int64."""

    out: np.ndarray  # [O + SPARE] of each row in `out`; the last row is repeated
    weight: np.ndarray  # [O + SPARE] of each row in `weights`
    bias: np.ndarray  # [O + SPARE] of each row's bias in `weights`
    channel_weight: np.ndarray  # [J] of each channel in `weights`
    channel_src: np.ndarray  # [J] of each channel in `src`
    tap_weight: np.ndarray  # [T] of each tap in `weights`
    tap_src: np.ndarray  # [T] of each tap in `src`
    runs: np.ndarray  # [M, 5] place in `out`, in `src`, lanes (16 or more), first and end tap


class Correlate(NamedTuple):
    """Tables of `correlate`: offsets, all int64."""

    left: np.ndarray  # [O + SPARE] of each row in `left`; the last row is repeated
    row_out: np.ndarray  # [O + SPARE] of each row in `out`; -1 for the repeated
    right: np.ndarray  # [K + ...] of each column in `right`; each part ends with SPARE repeated
    col_out: np.ndarray  # [K + ...] of each column in `out`; -1 for the repeated
    runs: np.ndarray  # [M, 3] place in `left`, in `right`, lanes (a multiple of 16)
    parts: np.ndarray  # [B, 4] first column, end of the columns, first run, end of the runs


@kernel
def mix(out, src, weights, tables, start, floor, gate):
    """Write weighted sums of shifted planes: a convolution, its input gradient, a linear layer.

    For every row o, run m = (place, at, size, t0, t1) and lane p in [0, size):
        out[tables.out[o] + place + p] = start + sum over channels j and taps t0 <= t < t1 of
            weights[tables.weight[o] + channel_weight[j] + tap_weight[t]]
            * src[channel_src[j] + tap_src[t] + at + p]

    Parameters
    ----------
    out : float32[.], changed in place
        The same array as `src` or not, but what is written is not read.
    src, weights : float32[.]
    tables : Mix
        If the lanes of a run are no multiple of 16, some are written twice.
    start : int
        0: sums start from 0; 1: from the row's bias; 2: from what is in `out`.
    floor : float
        Smaller results become `floor`: 0 for a ReLU, -inf for none.
    gate : int
        If not 0, a result becomes 0 unless out[gate + its place] > 0: the derivative of a
        ReLU whose output lies `gate` behind its gradient.

    Notes
    -----
    2 O J T lanes FLOPs. Terms are added in the order channels, taps. Rows are taken in
    tiles of 6, 4 and 2 and lanes in blocks of 64, 32 and 16, so that up to 24 sums
    stay in registers and 10 loads feed 24 multiply-adds.
    """
    size, o = tables.out.size - SPARE, 0
    while o < size:
        if size - o >= 5:
            _mix_rows(lanes.full(6, 4, 0.0), lanes.full(6, 2, 0.0), lanes.full(6, 1, 0.0),
                      out, src, weights, tables, o, start, floor, gate)  # fmt: skip
            o += 6
        elif size - o >= 3:
            _mix_rows(lanes.full(4, 4, 0.0), lanes.full(4, 2, 0.0), lanes.full(4, 1, 0.0),
                      out, src, weights, tables, o, start, floor, gate)  # fmt: skip
            o += 4
        else:
            _mix_rows(lanes.full(2, 4, 0.0), lanes.full(2, 2, 0.0), lanes.full(2, 1, 0.0),
                      out, src, weights, tables, o, start, floor, gate)  # fmt: skip
            o += 2


@kernel
def _mix_rows(wide, middle, narrow, out, src, weights, tables, o, start, floor, gate):
    """Do all runs of the rows of one tile."""
    runs = tables.runs
    for m in range(runs.shape[0]):
        place, at, size, t0, t1 = runs[m, 0], runs[m, 1], runs[m, 2], runs[m, 3], runs[m, 4]
        p = 0
        while size - p >= 64:
            _mix_tile(wide, out, src, weights, tables, o, place + p, at + p, t0, t1,
                      start, floor, gate)  # fmt: skip
            p += 64
        while size - p >= 32:
            _mix_tile(middle, out, src, weights, tables, o, place + p, at + p, t0, t1,
                      start, floor, gate)  # fmt: skip
            p += 32
        while p < size:
            p = min(p, size - 16)
            _mix_tile(narrow, out, src, weights, tables, o, place + p, at + p, t0, t1,
                      start, floor, gate)  # fmt: skip
            p += 16


@kernel
def _mix_tile(zero, out, src, weights, tables, o, place, at, t0, t1, start, floor, gate):
    """Do one tile: its sums stay in registers from the first tap to the last."""
    tile = zero
    if start == 1:
        tile = lanes.spread(tile, weights, tables.bias, o)
    elif start == 2:
        tile = lanes.loaded(tile, out, tables.out, o, place)
    for j in range(tables.channel_src.size):
        w, x = tables.channel_weight[j], tables.channel_src[j] + at
        for t in range(t0, t1):
            tile = lanes.outer(tile, weights, tables.weight, o, w + tables.tap_weight[t],
                               src, x + tables.tap_src[t])  # fmt: skip
    least = lanes.filled(zero, floor)
    tile = lanes.where_greater(least, tile, least, tile)
    if gate != 0:
        active = lanes.loaded(zero, out, tables.out, o, place + gate)
        tile = lanes.where_greater(active, zero, tile, zero)
    lanes.store(tile, out, tables.out, o, place)


@kernel
def correlate(out, left, right, tables):
    """Add products of planes, summed over positions and batch: a weight gradient.

    For every part (k0, k1, m0, m1), row o and column k0 <= k < k1:
        out[row_out[o] + col_out[k]] += sum over runs m0 <= m < m1 = (at, start, size) and
            lanes p in [0, size) of
            left[tables.left[o] + at + p] * right[tables.right[k] + start + p]

    Parameters
    ----------
    out : float32[.], changed in place
    left, right : float32[.]
        The gradient that arrives and the layer's input; may be the same array.
    tables : Correlate

    Notes
    -----
    2 O K lanes FLOPs. Lane l of 16 holds the sum over every 16th p; at the end the 16 are
    added in halves. Tiles are of 6 x 4, 4 x 5, 2 x 9 and 1 x 9 rows and columns, so that
    few loads feed many multiply-adds in registers also when few rows are left.
    """
    scratch = np.empty(32, np.float32)
    size, parts = tables.left.size - SPARE, tables.parts
    for b in range(parts.shape[0]):
        o = 0
        while o < size:
            if size - o >= 5:
                _correlate_rows(lanes.full(6, 4, 0.0), 6, 4, out, left, right, tables, o, b, scratch)
                o += 6
            elif size - o >= 3:
                _correlate_rows(lanes.full(4, 5, 0.0), 4, 5, out, left, right, tables, o, b, scratch)
                o += 4
            elif size - o == 2:
                _correlate_rows(lanes.full(2, 9, 0.0), 2, 9, out, left, right, tables, o, b, scratch)
                o += 2
            else:
                _correlate_rows(lanes.full(1, 9, 0.0), 1, 9, out, left, right, tables, o, b, scratch)
                o += 1


@kernel
def _correlate_rows(zero, height, width, out, left, right, tables, o, b, scratch):
    """Do all columns of one part for the rows of one tile."""
    parts, runs = tables.parts, tables.runs
    for k in range(parts[b, 0], parts[b, 1], width):
        tile = zero
        for m in range(parts[b, 2], parts[b, 3]):
            at, start = runs[m, 0], runs[m, 1]
            for p in range(0, runs[m, 2], 16):
                tile = lanes.inner(tile, left, tables.left, o, at + p,
                                   right, tables.right, k, start + p)  # fmt: skip
        lanes.sums(tile, scratch)
        for r in range(height):
            for c in range(width):
                if tables.row_out[o + r] >= 0 and tables.col_out[k + c] >= 0:
                    out[tables.row_out[o + r] + tables.col_out[k + c]] += scratch[r * width + c]


@kernel
def row_sums(out, places, src, planes, size):
    """Add each plane, summed over positions and batch, to `out`: a bias gradient.

    out[places[o]] += sum over p in [0, size) of src[planes[o] + p]

    Parameters
    ----------
    out : float32[.], changed in place
    places, planes : int64[O]
    src : float32[.]
    size : int
        Lanes of a plane, a multiple of 16.

    Notes
    -----
    Reads 4 bytes per lane. 128 partial sums are kept, then added in halves and in order.
    """
    wide, narrow = lanes.full(1, 8, 0.0), lanes.full(1, 1, 0.0)
    scratch = np.empty(8, np.float32)
    for o in range(places.size):
        many, one, p = wide, narrow, 0
        while size - p >= 128:
            many = many + lanes.loaded(wide, src, planes, o, p)
            p += 128
        while p < size:
            one = one + lanes.loaded(narrow, src, planes, o, p)
            p += 16
        lanes.sums(one, scratch)
        total = scratch[0]
        lanes.sums(many, scratch)
        for c in range(8):
            total += scratch[c]
        out[places[o]] += total
