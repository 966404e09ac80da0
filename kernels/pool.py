"""Pooling over windows, forward and backward, with the batch innermost.

Arrays, offsets and runs are those of `conv`, with one run for each output position.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels import ends, lanes
from fedmpi.kernels._jit import kernel


@kernel
def largest(
    memory: NDArray[np.float32], out: NDArray[np.int64], src: NDArray[np.int64],
    taps: NDArray[np.int64], runs: NDArray[np.int64], floor: float,
) -> None:
    """Write the largest value of each window.

    For every channel c, run (place, at, size, t0, t1) and lane p in [0, size):
        memory[out[c] + place + p] = max of `floor` and, over taps t0 <= t < t1, of
            memory[src[c] + taps[t] + at + p]
    A window that holds a NaN gives NaN.

    Parameters
    ----------
    memory : float32[.], changed in place
    out, src : int64[C]
    taps : int64[T]
    runs : int64[M, 5]
    floor : float
        0 if a ReLU comes before or after the pooling, -inf otherwise.

    Notes
    -----
    Reads 4 bytes per tap and lane, writes 4 per lane.
    """
    if _even(runs):  # two vectors at a time, in half as many loops
        _largest(lanes.full(1, 2, 0.0), 32, memory, out, src, taps, runs, floor)
    else:
        _largest(lanes.full(1, 1, 0.0), 16, memory, out, src, taps, runs, floor)


@kernel
def _even(runs: NDArray[np.int64]) -> bool:
    """Return True if every run has an even number of vectors of 16 lanes."""
    odd = 0
    for m in range(runs.shape[0]):
        odd += runs[m, 2] % 32
    return odd == 0


@kernel
def _largest(
    zero: NDArray[np.float32], step: int, memory: NDArray[np.float32], out: NDArray[np.int64],
    src: NDArray[np.int64], taps: NDArray[np.int64], runs: NDArray[np.int64], floor: float,
) -> None:
    """Compute all windows, `step` lanes at a time."""
    least = lanes.filled(zero, floor)
    for c in range(out.size):
        for m in range(runs.shape[0]):
            for p in range(0, runs[m, 2], step):
                best = least
                for t in range(runs[m, 3], runs[m, 4]):
                    value = lanes.loaded(zero, memory, src, c, taps[t] + runs[m, 1] + p)
                    best = lanes.where_greater(value, best, value, best)
                    best = lanes.where_equal(value, value, best, value)
                ends.store(best, runs[m, 2] - p, memory, out, c, runs[m, 0] + p)


@kernel
def largest_back(
    memory: NDArray[np.float32], out: NDArray[np.int64], src: NDArray[np.int64],
    up: NDArray[np.int64], down: NDArray[np.int64], taps: NDArray[np.int64],
    runs: NDArray[np.int64], floor: float, apart: bool,
) -> None:
    """Pass each window's gradient to the first position that holds its largest value.

    For window (place, at, size, t0, t1), memory[up[c] + place + p] is added to
    memory[down[c] + taps[t] + at + p] for the first t with src equal to out, if out > floor.

    Parameters
    ----------
    memory : float32[.], changed in place
    out, src, up, down : int64[C]
        Planes of the results, of the values, and of the gradients of both.
    taps : int64[T]
    runs : int64[M, 5]
    floor : float
        The value that was given to `largest`.
    apart : bool
        True if each position is in exactly one window. Gradients are then written;
        otherwise they are added to planes that the caller has filled with 0.

    Notes
    -----
    Among equal values, torch.nn.MaxPool2d chooses the same position. Reads 4 bytes per tap
    and lane and writes as many; 8 more are read per lane.
    """
    lane = lanes.full(1, 1, 0.0)
    least = lanes.filled(lane, floor)
    for c in range(out.size):
        for m in range(runs.shape[0]):
            for p in range(0, runs[m, 2], 16):
                best = lanes.loaded(lane, memory, out, c, runs[m, 0] + p)
                left = lanes.loaded(lane, memory, up, c, runs[m, 0] + p)
                left = lanes.where_greater(best, least, left, lane)
                for t in range(runs[m, 3], runs[m, 4]):
                    at = taps[t] + runs[m, 1] + p
                    value = lanes.loaded(lane, memory, src, c, at)
                    given = lanes.where_equal(value, best, left, lane)
                    left = lanes.where_equal(value, best, lane, left)
                    if not apart:
                        given = given + lanes.loaded(lane, memory, down, c, at)
                    ends.store(given, runs[m, 2] - p, memory, down, c, at)


@kernel
def mean(
    memory: NDArray[np.float32], out: NDArray[np.int64], src: NDArray[np.int64],
    taps: NDArray[np.int64], runs: NDArray[np.int64], share: float, floor: float,
) -> None:
    """Write `share` times the sum of each window, or `floor` if that is larger.

    Parameters
    ----------
    memory : float32[.], changed in place
    out, src : int64[C]
    taps : int64[T]
    runs : int64[M, 5]
    share : float
        1 / number of positions of a window.
    floor : float
        0 if a ReLU follows, -inf otherwise.
    """
    lane = lanes.full(1, 1, 0.0)
    least, part = lanes.filled(lane, floor), lanes.filled(lane, share)
    for c in range(out.size):
        for m in range(runs.shape[0]):
            for p in range(0, runs[m, 2], 16):
                total = lane
                for t in range(runs[m, 3], runs[m, 4]):
                    total = total + lanes.loaded(lane, memory, src, c, taps[t] + runs[m, 1] + p)
                total = total * part
                total = lanes.where_greater(least, total, least, total)
                ends.store(total, runs[m, 2] - p, memory, out, c, runs[m, 0] + p)


@kernel
def mean_back(
    memory: NDArray[np.float32], up: NDArray[np.int64], down: NDArray[np.int64],
    taps: NDArray[np.int64], runs: NDArray[np.int64], share: float, gate: int,
) -> None:
    """Add `share` times each window's gradient to all its positions.

    Parameters
    ----------
    memory : float32[.], changed in place
    up, down : int64[C]
        Planes of the gradients of the windows and of their positions. The planes `down`
        hold 0 or the gradients that other layers have added.
    taps : int64[T]
    runs : int64[M, 5]
    share : float
        1 / number of positions of a window.
    gate : int
        As in `conv.mix`.
    """
    lane = lanes.full(1, 1, 0.0)
    part = lanes.filled(lane, share)
    for c in range(up.size):
        for m in range(runs.shape[0]):
            for p in range(0, runs[m, 2], 16):
                given = part * lanes.loaded(lane, memory, up, c, runs[m, 0] + p)
                for t in range(runs[m, 3], runs[m, 4]):
                    at = taps[t] + runs[m, 1] + p
                    total = given + lanes.loaded(lane, memory, down, c, at)
                    if gate != 0:
                        active = lanes.loaded(lane, memory, down, c, at + gate)
                        total = lanes.where_greater(active, lane, total, lane)
                    ends.store(total, runs[m, 2] - p, memory, down, c, at)
