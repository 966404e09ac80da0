"""Batch normalisation with the batch innermost, forward and backward.

A channel has `size` lanes: its positions follow each other, with `width` lanes each. A mask
float32[16 width] is 1 for the lanes of 16 positions that hold a sample. Other lanes are left out of
every sum.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels import ends, lanes
from fedmpi.kernels._jit import kernel

_ONCE, _ITSELF, _OTHER = 0, 1, 2  # argument `times` of `_sum`


@kernel
def normalise(
    memory: NDArray[np.float32], out: NDArray[np.int64], src: NDArray[np.int64], size: int,
    mask: NDArray[np.float32], weights: NDArray[np.float32], scale: NDArray[np.int64],
    shift: NDArray[np.int64], saved: NDArray[np.float32], epsilon: float, floor: float,
) -> None:
    """Write (x - mean) / sqrt(variance + epsilon) * scale + shift, with the batch's own moments.

    Parameters
    ----------
    memory : float32[.], changed in place
    out, src : int64[C]
        Planes of the result and of x.
    size : int
    mask : float32[16 width]
    weights : float32[P]
    scale, shift : int64[C]
        Offsets in `weights`.
    saved : float32[2, C], changed in place
        Mean and variance (divided by n, not by n - 1) of each channel.
    epsilon, floor : float
        Smaller results become `floor`: 0 for a ReLU, -inf for none.

    Notes
    -----
    Ioffe and Szegedy, ICML 2015 (arXiv:1502.03167). Reads 12 bytes per lane, writes 4.
    """
    scratch = np.empty(16, np.float32)
    count = _count(mask, size)
    for c in range(out.size):
        total = _sum(memory, src, c, size, mask, np.float32(0), _ONCE, src, scratch)
        mean = np.float32(total / count)
        total = _sum(memory, src, c, size, mask, mean, _ITSELF, src, scratch)
        saved[0, c], saved[1, c] = mean, np.float32(total / count)
        _affine(memory, out, src, c, size, weights[scale[c]], weights[shift[c]], mean,
                saved[1, c], epsilon, floor)  # fmt: skip


@kernel
def apply(
    memory: NDArray[np.float32], out: NDArray[np.int64], src: NDArray[np.int64], size: int,
    weights: NDArray[np.float32], scale: NDArray[np.int64], shift: NDArray[np.int64],
    mean: NDArray[np.int64], variance: NDArray[np.int64], epsilon: float, floor: float,
) -> None:
    """Write (x - mean) / sqrt(variance + epsilon) * scale + shift, with running moments.

    Parameters
    ----------
    memory : float32[.], changed in place
    out, src : int64[C]
    size : int
    weights : float32[P]
    scale, shift, mean, variance : int64[C]
        Offsets in `weights`.
    epsilon, floor : float
    """
    for c in range(out.size):
        _affine(memory, out, src, c, size, weights[scale[c]], weights[shift[c]],
                weights[mean[c]], weights[variance[c]], epsilon, floor)  # fmt: skip


@kernel
def normalise_back(
    memory: NDArray[np.float32], src: NDArray[np.int64], up: NDArray[np.int64],
    down: NDArray[np.int64], size: int, mask: NDArray[np.float32], weights: NDArray[np.float32],
    grad: NDArray[np.float32], scale: NDArray[np.int64], shift: NDArray[np.int64],
    saved: NDArray[np.float32], channels: NDArray[np.int64], epsilon: float, trained: bool,
    fresh: bool, gate: int,
) -> None:
    """Pass the gradient of `normalise` down to x, scale and shift.

    Parameters
    ----------
    memory : float32[.], changed in place
    src, up, down : int64[K]
        Planes of x, of the gradient of the result, and of the gradient of x.
    size : int
    mask : float32[16 width]
    weights : float32[P]
    grad : float32[P], changed in place
    scale, shift : int64[K]
        Offsets in `weights` and `grad`.
    saved : float32[2, C]
    channels : int64[K]
        Indices, among the C channels, of the K channels to process.
    epsilon : float
    trained, fresh : bool
        Whether `grad` is written; True to overwrite `down`, False to add to it.
    gate : int
        As in `conv.mix`.

    Notes
    -----
    With y the normalised x and n values: dx = scale / sqrt(variance + epsilon) *
    (dy - mean(dy) - y mean(dy y)). Reads 16 bytes per lane, writes 4.
    """
    scratch = np.empty(16, np.float32)
    count = _count(mask, size)
    for k in range(src.size):
        mean = saved[0, channels[k]]
        root = np.float32(1.0 / np.sqrt(np.float64(saved[1, channels[k]]) + epsilon))
        total = _sum(memory, up, k, size, mask, np.float32(0), _ONCE, up, scratch)
        product = _sum(memory, src, k, size, mask, mean, _OTHER, up, scratch) * np.float64(root)
        if trained:
            grad[shift[k]] = np.float32(total)
            grad[scale[k]] = np.float32(product)
        # The gradient of a single value is 0. Rounding would leave a little of it, which Adam
        # would then scale up.
        a = np.float32(weights[scale[k]] * root if count > 1 else 0.0)
        b = np.float32(-np.float64(a) * np.float64(root) * product / count)
        _back(memory, src, up, down, k, size, mask, a, b, mean,
              np.float32(-np.float64(a) * total / count), fresh, gate)  # fmt: skip


@kernel
def track(
    weights: NDArray[np.float32], mean: NDArray[np.int64], variance: NDArray[np.int64],
    saved: NDArray[np.float32], channels: NDArray[np.int64], mask: NDArray[np.float32], size: int,
    rate: float,
) -> None:
    """Move running moments towards the batch's: r = (1 - rate) r + rate b.

    Parameters
    ----------
    weights : float32[P], changed in place
    mean, variance : int64[K]
        Offsets in `weights`; the variance is divided by n - 1.
    saved : float32[2, C]
        From `normalise`.
    channels : int64[K]
    mask : float32[16 width]
    size : int
    rate : float
    """
    count = _count(mask, size)
    rest, part = np.float32(1.0 - rate), np.float32(rate)
    unbiased = np.float32(count / max(count - 1.0, 1.0))
    for k in range(channels.size):
        weights[mean[k]] = rest * weights[mean[k]] + part * saved[0, channels[k]]
        batch = saved[1, channels[k]] * unbiased
        weights[variance[k]] = rest * weights[variance[k]] + part * batch


@kernel
def _count(mask: NDArray[np.float32], size: int) -> float:
    """Return the number of lanes of a plane that hold samples."""
    count = 0.0
    for n in range(mask.size):
        count += np.float64(mask[n])
    return count * size / mask.size


@kernel
def _sum(
    memory: NDArray[np.float32], planes: NDArray[np.int64], c: int, size: int,
    mask: NDArray[np.float32], centre: np.float32, times: int, others: NDArray[np.int64],
    scratch: NDArray[np.float32],
) -> float:
    """Sum x - centre over one plane, squared or times a plane of `others` if `times` says so.

    16 positions are added in float32 before they join the sum in float64.
    """
    zero = lanes.full(1, 1, 0.0)
    middle, sum_ = lanes.filled(zero, centre), 0.0
    for first in range(0, size, mask.size):
        total = zero
        for p in range(first, min(first + mask.size, size), 16):
            used = lanes.vector(zero, mask, p - first)
            value = lanes.loaded(zero, memory, planes, c, p) - middle
            if times == _ITSELF:
                value = value * value
            elif times == _OTHER:
                value = value * lanes.loaded(zero, memory, others, c, p)
            value = lanes.where_greater(used, zero, value, zero)
            if size - p < 16:
                value = lanes.where_greater(ends.below(zero, size - p), zero, value, zero)
            total = total + value
        lanes.sums(total, scratch)
        sum_ += np.float64(scratch[0])
    return sum_


@kernel
def _affine(
    memory: NDArray[np.float32], out: NDArray[np.int64], src: NDArray[np.int64], c: int, size: int,
    scale: np.float32, shift: np.float32, mean: np.float32, variance: np.float32, epsilon: float,
    floor: float,
) -> None:
    zero = lanes.full(1, 1, 0.0)
    factor = np.float32(np.float64(scale) / np.sqrt(np.float64(variance) + epsilon))
    a, b = lanes.filled(zero, factor), lanes.filled(zero, shift)
    middle, least = lanes.filled(zero, mean), lanes.filled(zero, floor)
    for p in range(0, size, 16):
        value = lanes.loaded(zero, memory, src, c, p) - middle
        value = lanes.fused(a, value, b)
        value = lanes.where_greater(least, value, least, value)
        ends.store(value, size - p, memory, out, c, p)


@kernel
def _back(
    memory: NDArray[np.float32], src: NDArray[np.int64], up: NDArray[np.int64],
    down: NDArray[np.int64], k: int, size: int, mask: NDArray[np.float32], a: np.float32,
    b: np.float32, mean: np.float32, d: np.float32, fresh: bool, gate: int,
) -> None:
    """Write or add a * up + b * (src - mean) + d."""
    zero = lanes.full(1, 1, 0.0)
    one, two, three = lanes.filled(zero, a), lanes.filled(zero, b), lanes.filled(zero, d)
    middle = lanes.filled(zero, mean)
    for first in range(0, size, mask.size):
        for p in range(first, min(first + mask.size, size), 16):
            used = lanes.vector(zero, mask, p - first)
            value = lanes.loaded(zero, memory, src, k, p) - middle
            value = lanes.fused(two, value, three)
            value = lanes.fused(one, lanes.loaded(zero, memory, up, k, p), value)
            value = lanes.where_greater(used, zero, value, zero)
            if not fresh:
                value = value + lanes.loaded(zero, memory, down, k, p)
            if gate != 0:
                active = lanes.loaded(zero, memory, down, k, p + gate)
                value = lanes.where_greater(active, zero, value, zero)
            ends.store(value, size - p, memory, down, k, p)
