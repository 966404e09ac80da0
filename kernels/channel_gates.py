"""Channel gates with the batch innermost: means of planes, the largest gates, and their products.

A plane has `size` lanes: its positions follow each other, with `width` lanes each, one for each
sample. The gates of a sample are one lane in `width` lanes for each channel.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels import ends, lanes
from fedmpi.kernels._jit import kernel

_BLOCK = 64  # positions whose products are added before they join the sum of a plane


@kernel
def means(
    memory: NDArray[np.float32], out: NDArray[np.int64], src: NDArray[np.int64],
    rows: NDArray[np.int64], size: int, width: int, share: float, squash: bool,
) -> None:
    """Write `share` times the sum of each plane over its positions, for each sample.

    memory[out[c] + n] = share * sum over rows m and multiples p < size of `width` of
        memory[src[c] + rows[m] + p + n], of which the sigmoid is taken if `squash`.

    Parameters
    ----------
    memory : float32[.], changed in place
    out, src : int64[C]
    rows : int64[M]
        Offsets in a plane of its rows of positions.
    size : int
        Lanes of a row, a multiple of `width`.
    width : int
        Lanes of a position.
    share : float
        1 / number of positions.
    squash : bool

    Notes
    -----
    A row is added in float32, position by position, then the sums of the rows. The sigmoid is in
    float64. Reads 4 bytes per lane.
    """
    c = 0
    while c < src.size:
        if src.size - c >= 4:
            _means(lanes.full(4, 1, 0.0), memory, out, src, c, rows, size, width, share)
            c += 4
        else:
            _means(lanes.full(1, 1, 0.0), memory, out, src, c, rows, size, width, share)
            c += 1
    if squash:
        for c in range(out.size):
            for n in range(width):
                value = 0.5 * np.float64(memory[out[c] + n])
                memory[out[c] + n] = np.float32(0.5 + 0.5 * np.tanh(value))


@kernel
def _means(
    zero: NDArray[np.float32], memory: NDArray[np.float32], out: NDArray[np.int64],
    src: NDArray[np.int64], c: int, rows: NDArray[np.int64], size: int, width: int, share: float,
) -> None:
    """Compute the means of the planes of one tile, from number `c` on."""
    part = lanes.filled(zero, share)
    for n in range(0, width, 16):
        total = zero
        for m in range(rows.size):
            row = zero
            for p in range(rows[m] + n, rows[m] + size, width):
                row = row + lanes.loaded(zero, memory, src, c, p)
            total = total + row
        ends.store(total * part, width - n, memory, out, c, n)


@kernel
def means_back(
    memory: NDArray[np.float32], out: NDArray[np.int64], up: NDArray[np.int64],
    down: NDArray[np.int64], size: int, width: int, share: float, squash: bool, fresh: bool,
    gate: int,
) -> None:
    """Pass the gradient of `means` down to all positions of the planes.

    Parameters
    ----------
    memory : float32[.], changed in place
    out, up, down : int64[K]
        The means that `means` wrote, their gradients, and the planes of the gradients of x.
    size : int
        Lanes of a plane of `down`.
    width : int
    share : float
    squash : bool
        As in `means`. The derivative of the sigmoid s is s (1 - s).
    fresh : bool
        True to overwrite `down`, False to add to it.
    gate : int
        As in `conv.mix`.

    Notes
    -----
    Writes 4 bytes per lane, and reads up to 8.
    """
    lane, one = lanes.full(1, 1, 0.0), lanes.full(1, 1, 1.0)
    part = lanes.filled(lane, share)
    given, start = np.empty(width + 16, np.float32), np.zeros(1, np.int64)
    for k in range(up.size):
        for n in range(0, width, 16):
            slope = part * lanes.loaded(lane, memory, up, k, n)
            if squash:
                mean = lanes.loaded(lane, memory, out, k, n)
                slope = slope * (mean * (one - mean))
            lanes.store(slope, given, start, 0, n)
        for p in range(0, size, width):
            for n in range(0, width, 16):
                total = lanes.vector(lane, given, n)
                if not fresh:
                    total = total + lanes.loaded(lane, memory, down, k, p + n)
                if gate != 0:
                    active = lanes.loaded(lane, memory, down, k, p + n + gate)
                    total = lanes.where_greater(active, lane, total, lane)
                ends.store(total, width - n, memory, down, k, p + n)


@kernel
def keep(memory: NDArray[np.float32], planes: NDArray[np.int64], kept: int, width: int) -> None:
    """Write 0 over all but the `kept` largest gates of each sample.

    Parameters
    ----------
    memory : float32[.], changed in place
        The gate of channel c and sample n is memory[planes[c] + n]. A NaN stays.
    planes : int64[C]
    kept : int
        At least 1. Of equal gates, those of the first channels are kept.
    width : int

    Notes
    -----
    Each gate is compared with all others: C^2 comparisons per sample.
    """
    if kept >= planes.size:
        return
    lane, one = lanes.full(1, 1, 0.0), lanes.full(1, 1, 1.0)
    most, scratch = lanes.filled(lane, np.float32(kept)), np.empty(16 * planes.size, np.float32)
    places = 16 * np.arange(planes.size)
    for n in range(0, width, 16):
        for c in range(planes.size):
            value, before = lanes.loaded(lane, memory, planes, c, n), lane
            for j in range(c):
                other = lanes.loaded(lane, memory, planes, j, n)
                equal = lanes.where_equal(other, value, one, lane)
                before = before + lanes.where_greater(other, value, one, equal)
            for j in range(c + 1, planes.size):
                other = lanes.loaded(lane, memory, planes, j, n)
                before = before + lanes.where_greater(other, value, one, lane)
            lanes.store(lanes.where_greater(most, before, value, lane), scratch, places, c, 0)
        for c in range(planes.size):
            value = lanes.loaded(lane, scratch, places, c, 0)
            ends.store(value, width - n, memory, planes, c, n)


@kernel
def scale(
    memory: NDArray[np.float32], out: NDArray[np.int64], src: NDArray[np.int64],
    gates: NDArray[np.int64], size: int, width: int, floor: float,
) -> None:
    """Multiply every position of a plane by the gates of the samples.

    memory[out[c] + p + n] = max(memory[src[c] + p + n] * memory[gates[c] + n], floor)

    Parameters
    ----------
    memory : float32[.], changed in place
    out, src, gates : int64[C]
    size, width : int
    floor : float
        0 for a ReLU, -inf for none.

    Notes
    -----
    Reads 4 bytes per lane and writes 4.
    """
    lane = lanes.full(1, 1, 0.0)
    least = lanes.filled(lane, floor)
    for c in range(out.size):
        for p in range(0, size, width):
            for n in range(0, width, 16):
                value = lanes.loaded(lane, memory, src, c, p + n)
                value = value * lanes.loaded(lane, memory, gates, c, n)
                value = lanes.where_greater(least, value, least, value)
                ends.store(value, width - n, memory, out, c, p + n)


@kernel
def scale_back(
    memory: NDArray[np.float32], up: NDArray[np.int64], src: NDArray[np.int64],
    down: NDArray[np.int64], gates: NDArray[np.int64], slopes: NDArray[np.int64], size: int,
    width: int, passed: NDArray[np.uint8], opened: NDArray[np.uint8],
) -> None:
    """Pass the gradient of `scale` down to the planes and to the gates.

    memory[down[k] + p + n] = memory[up[k] + p + n] * memory[gates[k] + n], if passed[k];
    memory[slopes[k] + n] = sum over p of memory[up[k] + p + n] * memory[src[k] + p + n], or 0
        where the gate is 0, if opened[k].

    Parameters
    ----------
    memory : float32[.], changed in place
    up, src, down, gates, slopes : int64[K]
        Planes of the gradient of the result, of x and of its gradient, of the gates and of their
        gradient.
    size, width : int
    passed, opened : uint8[K]

    Notes
    -----
    64 products are added in float32, then their sums. Reads 8 bytes per lane and writes 4.
    """
    lane, block = lanes.full(1, 1, 0.0), _BLOCK * width
    for k in range(up.size):
        for n in range(0, width, 16):
            gate, total = lanes.loaded(lane, memory, gates, k, n), lane
            for first in range(0, size, block):
                part = lane
                for p in range(first + n, min(first + block, size), width):
                    given = lanes.loaded(lane, memory, up, k, p)
                    part = lanes.fused(given, lanes.loaded(lane, memory, src, k, p), part)
                    if passed[k]:
                        ends.store(given * gate, width - n, memory, down, k, p)
                total = total + part
            if opened[k]:
                total = lanes.where_greater(gate, lane, total, lane)
                ends.store(total, width - n, memory, slopes, k, n)
