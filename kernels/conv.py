"""Convolutions and linear layers, forward and backward, as sums over taps.

Arrays are flat, with the batch innermost: a channel is a plane of positions, and each position
is a block of N lanes, one for each sample of a batch. Neighbours that are computed alike are one
run of lanes, so only a run's last vector of 16 may have lanes to spare; what is read in these,
even NaN, counts for nothing. A table of offsets lists the terms of each sum. So one kernel serves
every kernel size, stride, padding and batch, both passes, and any choice of rows and channels.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels import ends, lanes
from fedmpi.kernels._jit import inlined, kernel

# Rows and columns of tiles. The sums of a tile fill most of the 32 registers of 16 lanes, or of the
# 16 registers of 8. The shape of a tile does not change the order of additions, hence not the bits.
_MANY = lanes.WIDTH == 16
_WIDE, _MIDDLE = (4, 2) if _MANY else (1, 1)  # columns for 6 or 4 rows of `mix`
_PAIR = 4 if _MANY else 2  # columns for 2 rows; 3 do not fit in 16 registers
_TWO, _ONE = (9, 9) if _MANY else (3, 5)  # columns for 2 rows and for 1 row of `correlate`


@kernel
def mix(
    out: NDArray[np.float32], src: NDArray[np.float32], weights: NDArray[np.float32],
    table: NDArray[np.int64], start: int, floor: float, gate: int,
) -> None:
    """Write weighted sums of shifted planes: a convolution, its input gradient, a linear layer.

    For every row o, run m = (place, at, size, t0, t1) and lane p in [0, size):
        out[row_out[o] + place + p] = start + sum over channels j and taps t0 <= t < t1 of
            weights[row_weight[o] + channel_weight[j] + tap_weight[t]]
            * src[channel_src[j] + tap_src[t] + at + p]

    Parameters
    ----------
    out : float32[.], changed in place
        May be the same array as `src`, if no element is both read and written.
    src, weights : float32[.]
    table : int64[.]
        From `tables.mix_table`.
    start : int
        0: sums start from 0; 1: from the row's bias; 2: from the values in `out`.
    floor : float
        Smaller results become `floor`: 0 for a ReLU, -inf for none.
    gate : int
        If not 0, the result at offset q becomes 0 unless out[gate + q] > 0. This is the derivative
        of a ReLU whose output is stored `gate` elements behind its gradient.

    Notes
    -----
    2 O J T lanes FLOPs. Terms are added channel by channel and, within a channel, tap by tap, 576
    or 144 at a time. The table says how many lanes to do at once, so that their inputs stay in the
    second-level cache for all rows. Rows are taken in tiles of 6, 4 and 2, and lanes in blocks of
    64, 32 and 16, so that up to 24 sums stay in registers and 10 loads feed 24 multiply-adds. With
    AVX2, blocks have 16 lanes (32 for 2 rows), and 8 loads feed 12 multiply-adds.
    """
    runs = lanes.item(table, 12)
    end = runs + 5 * lanes.item(table, 2)
    while runs < end:
        after, together = runs, 0
        while after < end and together < lanes.item(table, 4):
            together += lanes.item(table, after + 2)
            after += 5
        _mix_runs(out, src, weights, table, runs, after, start, floor, gate)
        runs = after


@kernel
def mix_samples(
    out: NDArray[np.float32], src: NDArray[np.float32], table: NDArray[np.int64],
    samples: NDArray[np.int64],
) -> None:
    """Write a linear layer's weight gradient: sums of `mix` over the samples of a batch.

    Parameters
    ----------
    out : float32[.], changed in place
    src : float32[.]
        The layer's input, transposed (`batch_last.transpose`), and the gradient of its output.
    table : int64[.], changed in place
        From `tables.mix_table`; its taps are the samples of a batch that fills all lanes.
    samples : int64[1]
        The number of samples in this batch. Terms of the lanes behind them would be 0.

    Notes
    -----
    2 O J samples FLOPs, and one more block of lanes for the last inputs.
    """
    runs = lanes.item(table, 12)
    for m in range(lanes.item(table, 2)):
        table[runs + 5 * m + 4] = samples[0]
    mix(out, src, src, table, 0, -np.inf, 0)


@kernel
def _mix_runs(
    out: NDArray[np.float32], src: NDArray[np.float32], weights: NDArray[np.float32],
    table: NDArray[np.int64], m0: int, m1: int, start: int, floor: float, gate: int,
) -> None:
    """Compute all rows of runs m0 to m1."""
    size, channels, block = lanes.item(table, 0), lanes.item(table, 1), lanes.item(table, 3)
    j, j1 = 0, -1
    while j1 < channels:
        j1 = min(j + block, channels)
        first = start if j == 0 else 2
        least, behind = (floor, gate) if j1 == channels else (-np.inf, 0)
        o = 0
        while o < size:
            if size - o >= 5:
                _mix_rows(lanes.full(6, _WIDE, 0.0), lanes.full(6, _MIDDLE, 0.0),
                          lanes.full(6, 1, 0.0), _WIDE, _MIDDLE,
                          out, src, weights, table, o, j, j1, m0, m1,
                          first, least, behind)  # fmt: skip
                o += 6
            elif size - o >= 3:
                _mix_rows(lanes.full(4, _WIDE, 0.0), lanes.full(4, _MIDDLE, 0.0),
                          lanes.full(4, 1, 0.0), _WIDE, _MIDDLE,
                          out, src, weights, table, o, j, j1, m0, m1,
                          first, least, behind)  # fmt: skip
                o += 4
            else:
                _mix_rows(lanes.full(2, _PAIR, 0.0), lanes.full(2, 2, 0.0),
                          lanes.full(2, 1, 0.0), _PAIR, 2,
                          out, src, weights, table, o, j, j1, m0, m1,
                          first, least, behind)  # fmt: skip
                o += 2
        j = j1


@kernel
def _mix_rows(
    wide: NDArray[np.float32], middle: NDArray[np.float32], one: NDArray[np.float32], most: int,
    more: int, out: NDArray[np.float32], src: NDArray[np.float32], weights: NDArray[np.float32],
    table: NDArray[np.int64], o: int, j0: int, j1: int, m0: int, m1: int, start: int, floor: float,
    gate: int,
) -> None:
    """Compute runs for the rows of one tile: `most` vectors at once, then `more`, then one."""
    for m in range(m0, m1, 5):
        size, p = lanes.item(table, m + 2), 0
        while size - p >= 16 * most:
            _mix_tile(wide, out, src, weights, table, o, j0, j1, m, p, 0, start, floor, gate)
            p += 16 * most
        while size - p >= 16 * more:
            _mix_tile(middle, out, src, weights, table, o, j0, j1, m, p, 0, start, floor, gate)
            p += 16 * more
        for q in range(p, size, 16):
            _mix_tile(one, out, src, weights, table, o, j0, j1, m, q, size - q, start, floor, gate)


@inlined
def _mix_tile(
    zero: NDArray[np.float32], out: NDArray[np.float32], src: NDArray[np.float32],
    weights: NDArray[np.float32], table: NDArray[np.int64], o: int, j0: int, j1: int, m: int,
    p: int, count: int, start: int, floor: float, gate: int,
) -> None:
    """Compute one tile in registers, and write its first `count` lanes, or all if that is 0."""
    row_out, row_weight = lanes.item(table, 5) + o, lanes.item(table, 6) + o
    place, at = lanes.item(table, m) + p, lanes.item(table, m + 1) + p
    t0, t1 = lanes.item(table, m + 3), lanes.item(table, m + 4)
    channel_weight, channel_src = lanes.item(table, 8), lanes.item(table, 9)
    tap_weight, tap_src = lanes.item(table, 10), lanes.item(table, 11)
    tile = zero
    if start == 1:
        tile = lanes.spread(tile, weights, table, lanes.item(table, 7) + o)
    elif start == 2:
        tile = lanes.loaded(tile, out, table, row_out, place)
    for j in range(j0, j1):
        w, x = lanes.item(table, channel_weight + j), lanes.item(table, channel_src + j) + at
        for t in range(t0, t1):
            tile = lanes.outer(
                tile, weights, table, row_weight, w + lanes.item(table, tap_weight + t),
                src, x + lanes.item(table, tap_src + t),
            )  # fmt: skip
    least = lanes.filled(zero, floor)
    tile = lanes.where_greater(least, tile, least, tile)
    if gate != 0:
        active = lanes.loaded(zero, out, table, row_out, place + gate)
        tile = lanes.where_greater(active, zero, tile, zero)
    if count > 0:
        ends.store(tile, count, out, table, row_out, place)
    else:
        lanes.store(tile, out, table, row_out, place)


@kernel
def correlate(
    out: NDArray[np.float32], left: NDArray[np.float32], right: NDArray[np.float32],
    table: NDArray[np.int64],
) -> None:
    """Add products of planes, summed over positions and batch: a weight gradient.

    For every part (k0, k1, m0, m1), row o and column k0 <= k < k1:
        out[row_out[o] + col_out[k]] += sum over runs m0 <= m < m1 = (at, start, size) and
            lanes p in [0, size) of
            left[row_left[o] + at + p] * right[col_right[k] + start + p]

    Parameters
    ----------
    out : float32[.], changed in place
    left, right : float32[.]
        The gradient of the layer's output, and its input; they may be in the same array.
    table : int64[.]
        From `tables.correlate_table`.

    Notes
    -----
    2 O K lanes FLOPs. Each of 16 lanes holds the sum over every 16th p; at the end the 16 sums are
    added in halves. Tiles have 6 x 4, 4 x 5, 2 x 9 or 1 x 9 rows and columns, so that few loads
    feed many multiply-adds in registers even when few rows are left. With AVX2, tiles have 2 x 3 or
    1 x 5: few planes are read together, so their lines come from the nearest caches.
    """
    sums, size = np.empty(32, np.float32), lanes.item(table, 0)
    for b in range(lanes.item(table, 1)):
        part, o = lanes.item(table, 7) + 4 * b, 0
        while o < size:
            if _MANY and size - o >= 5:
                _correlate_rows(lanes.full(6, 4, 0.0), 6, 4, out, left, right, table, o, part, sums)
                o += 6
            elif _MANY and size - o >= 3:
                _correlate_rows(lanes.full(4, 5, 0.0), 4, 5, out, left, right, table, o, part, sums)
                o += 4
            elif size - o >= 2:
                _correlate_rows(lanes.full(2, _TWO, 0.0), 2, _TWO,
                                out, left, right, table, o, part, sums)  # fmt: skip
                o += 2
            else:
                _correlate_rows(lanes.full(1, _ONE, 0.0), 1, _ONE,
                                out, left, right, table, o, part, sums)  # fmt: skip
                o += 1


@kernel
def _correlate_rows(
    zero: NDArray[np.float32], height: int, width: int, out: NDArray[np.float32],
    left: NDArray[np.float32], right: NDArray[np.float32], table: NDArray[np.int64], o: int,
    part: int, sums: NDArray[np.float32],
) -> None:
    """Compute all columns of one part for the rows of one tile."""
    row_left, row_out = lanes.item(table, 2) + o, lanes.item(table, 3) + o
    col_right, col_out = lanes.item(table, 4), lanes.item(table, 5)
    first, end = lanes.item(table, part + 2), lanes.item(table, part + 3)
    runs = lanes.item(table, 6)
    for k in range(lanes.item(table, part), lanes.item(table, part + 1), width):
        tile = zero
        for m in range(runs + 3 * first, runs + 3 * end, 3):
            at, start = lanes.item(table, m), lanes.item(table, m + 1)
            size = lanes.item(table, m + 2)
            for p in range(0, size - 15, 16):
                tile = lanes.inner(tile, left, table, row_left, at + p,
                                   right, table, col_right + k, start + p)  # fmt: skip
            if size & 15:
                tile = ends.inner(tile, size, left, table, row_left, at,
                                  right, table, col_right + k, start)  # fmt: skip
        lanes.sums(tile, sums)
        for r in range(height):
            row = lanes.item(table, row_out + r)
            for c in range(width):
                col = lanes.item(table, col_out + k + c)
                if row >= 0 and col >= 0:
                    out[row + col] += sums[r * width + c]


@kernel
def row_sums(
    out: NDArray[np.float32], places: NDArray[np.int64], src: NDArray[np.float32],
    planes: NDArray[np.int64], size: int,
) -> None:
    """Write the sum of each plane over positions and batch: a bias gradient.

    out[places[o]] = sum over p in [0, size) of src[planes[o] + p]

    Parameters
    ----------
    out : float32[.], changed in place
    places, planes : int64[O]
    src : float32[.]
    size : int
        Lanes of a plane.

    Notes
    -----
    Reads 4 bytes per lane. 128 partial sums are kept; each 16 are added in halves, then in order.
    """
    wide, narrow = lanes.full(1, 8, 0.0), lanes.full(1, 1, 0.0)
    scratch = np.empty(16, np.float32)
    for o in range(places.size):
        many, one = wide, narrow
        for p in range(0, size - 127, 128):
            many = many + lanes.loaded(wide, src, planes, o, p)
        for p in range(size // 128 * 128, size, 16):
            value = lanes.loaded(narrow, src, planes, o, p)
            one = one + lanes.where_greater(ends.below(narrow, size - p), narrow, value, narrow)
        lanes.sums(one, scratch)
        total = scratch[0]
        lanes.sums(many, scratch)
        for c in range(8):
            total += scratch[c]
        out[places[o]] = total
