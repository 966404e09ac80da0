"""Conversion to the layout with the batch innermost, and element-wise operations in it."""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels import ends, lanes
from fedmpi.kernels._jit import kernel
from fedmpi.kernels._turn import SIDE, turn


@kernel
def enter(
    memory: NDArray[np.float32], places: NDArray[np.int64], x: NDArray[np.float32],
    index: NDArray[np.int64], width: int,
) -> None:
    """Gather a batch: memory[places[d] + n] = x[index[n], d]; lanes behind it get the last sample.

    Parameters
    ----------
    memory : float32[.], changed in place
    places : int64[D]
    x : float32[N, D]
    index : int64[n]
        Indices of the samples, each in [0, N). If there are none, all lanes get 0.
    width : int
        Lanes of a position, at least n.

    Notes
    -----
    Lanes without a sample have gradients of 0. They get a sample because normalisations would scale
    up what lies far from the batch, layer by layer, until 0 times infinity is NaN. Blocks of 16
    samples and 16 numbers are transposed in registers, with AVX2 in four parts. Reads and writes 4
    bytes per number.
    """
    size, values = x.shape[1], x.reshape(-1)
    rows = index * size
    for n in range(0, width, 16):
        count = index.size - n  # samples left, of which up to 16 are gathered now
        if count < 16 or size < SIDE:
            for d in range(size):
                for k in range(min(16, width - n)):
                    last = min(n + k, index.size - 1)
                    here = values[rows[last] + d] if last >= 0 else np.float32(0)
                    memory[places[d] + n + k] = here
            continue
        for d in range(0, size, SIDE):
            d = min(d, size - SIDE)  # the last block overlaps the one before
            for k in range(n, n + 16, SIDE):
                turn(values, rows, k, d, memory, places, d, k)


@kernel
def transpose(
    memory: NDArray[np.float32], out: int, src: int, rows: int, width: int, pitch: int
) -> None:
    """Transpose [rows, width]: memory[out + n * pitch + i] = memory[src + i * width + n].

    If the width is not a multiple of 16, other values may be written to the lines behind the last
    one, up to the next multiple.

    Parameters
    ----------
    memory : float32[.], changed in place
    out, src : int
        Offsets in `memory` of the result and of its source, which must not overlap.
    rows, width, pitch : int
        At least 16 rows, and pitch >= rows.
    """
    across, down = np.arange(SIDE) * width, np.arange(SIDE) * pitch
    for i in range(0, rows, SIDE):
        i = min(i, rows - SIDE)  # the last block overlaps the one before
        for n in range(0, width, SIDE):
            turn(memory, across, 0, src + i * width + n, memory, down, 0, out + n * pitch + i)


@kernel
def turn_weights(
    memory: NDArray[np.float32], out: int, weights: NDArray[np.float32], rows: NDArray[np.int64],
    columns: NDArray[np.int64], taps: int,
) -> None:
    """Copy blocks of weights column by column, the order in which an input gradient reads them.

    memory[out + (i K + k) taps + t] = weights[rows[k] + columns[i] + t] for t in [0, taps).

    Parameters
    ----------
    memory : float32[.], changed in place
    out : int
    weights : float32[P]
    rows : int64[K]
    columns : int64[I]
    taps : int
    """
    for i in range(columns.size):
        for k in range(rows.size):
            for t in range(taps):
                memory[out + t] = weights[rows[k] + columns[i] + t]
            out += taps


@kernel
def measure(
    totals: NDArray[np.float64], memory: NDArray[np.float32], planes: NDArray[np.int64], size: int,
    mask: NDArray[np.float32], floor: float,
) -> None:
    """Add |x| of every plane over positions and batch: totals[c] += sum |memory[planes[c] + .]|.

    Parameters
    ----------
    totals : float64[C], changed in place
    memory : float32[.], changed in place
        Values below `floor` become `floor`.
    planes : int64[C]
    size : int
        Lanes of a plane: positions times width.
    mask : float32[16 width]
        For the lanes of 16 positions, 1 if they hold a sample and 0 if not.
    floor : float
        0 if a ReLU follows, -inf otherwise.

    Notes
    -----
    This is the importance of FedSkel (Luo et al., CIKM 2021). It is measured before the ReLU, in
    the same pass that applies the ReLU. Up to 64 numbers are added in float32, lane by lane, and
    all further sums are in float64. Reads and writes 4 bytes per lane.
    """
    lane, sums = lanes.full(1, 1, 0.0), np.empty(16, np.float32)
    least, width = lanes.filled(lane, floor), mask.size // 16
    period = width  # of the vectors that hold the same samples
    while period % 16:
        period += width
    for c in range(planes.size):
        for first in range(0, size, 64 * width):
            for n in range(first, min(first + period, size), 16):
                total = lane
                for p in range(n, min(first + 64 * width, size), period):
                    value = lanes.loaded(lane, memory, planes, c, p)
                    large = lanes.where_greater(value, lane, value, lane - value)
                    if size - p < 16:
                        large = lanes.where_greater(ends.below(lane, size - p), lane, large, lane)
                    total = total + large
                    value = lanes.where_greater(least, value, least, value)
                    ends.store(value, size - p, memory, planes, c, p)
                held = lanes.vector(lane, mask, n - first)
                lanes.sums(lanes.where_greater(held, lane, total, lane), sums)
                totals[c] += np.float64(sums[0])


@kernel
def clear(memory: NDArray[np.float32], places: NDArray[np.int64], size: int) -> None:
    """Fill memory[p : p + size] (float32[.]) with 0 for each p of `places` (int64[.])."""
    for k in range(places.size):
        memory[places[k] : places[k] + size] = np.float32(0)


@kernel
def add(
    memory: NDArray[np.float32], out: int, one: int, other: int, size: int, floor: float
) -> None:
    """Write a sum: memory[out + i] = max(memory[one + i] + memory[other + i], floor).

    Parameters
    ----------
    memory : float32[.], changed in place
    out, one, other : int
        Offsets of float32[size] in `memory`.
    size : int
    floor : float
        0 for a ReLU, -inf for none.
    """
    least = np.float32(floor)
    for i in range(size):
        value = memory[one + i] + memory[other + i]
        memory[out + i] = least if value < least else value


@kernel
def pass_on(
    memory: NDArray[np.float32], down: int, up: int, size: int, fresh: bool, gate: int
) -> None:
    """Pass a gradient on unchanged, from float32[size] at offset `up` to `down`.

    Parameters
    ----------
    memory : float32[.], changed in place
    down, up, size : int
    fresh : bool
        True to overwrite `down`, False to add to it.
    gate : int
        As in `conv.mix`.
    """
    for i in range(size):
        value = memory[up + i] if fresh else memory[down + i] + memory[up + i]
        if gate != 0:
            value = value if memory[down + gate + i] > 0 else np.float32(0)
        memory[down + i] = value
