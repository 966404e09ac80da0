"""Group normalisation with the batch innermost, forward and backward.

Planes have `size` lanes: their positions follow each other, with `width` lanes each. The planes
are divided into `groups` runs of equal length, and each sample is normalised over all positions of
a run. With planes of one position each, in one group, this is layer normalisation.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._jit import kernel


@kernel
def normalise(
    memory: NDArray[np.float32], out: NDArray[np.int64], src: NDArray[np.int64], size: int,
    width: int, groups: int, weights: NDArray[np.float32], scale: NDArray[np.int64],
    shift: NDArray[np.int64], saved: NDArray[np.float32], epsilon: float, floor: float,
) -> None:
    """Write (x - mean) / sqrt(variance + epsilon) * scale + shift, with each sample's own moments.

    Parameters
    ----------
    memory : float32[.], changed in place
    out, src : int64[C]
        Planes of the result and of x; C is a multiple of `groups`.
    size, width : int
    groups : int
    weights : float32[P]
    scale, shift : int64[C]
        Offsets in `weights`.
    saved : float32[2, groups, width], changed in place
        Mean, and 1 / sqrt(variance + epsilon), of each group and sample.
    epsilon, floor : float
        Smaller results become `floor`: 0 for a ReLU, -inf for none.

    Notes
    -----
    Wu and He, ECCV 2018 (arXiv:1803.08494); Ba et al., arXiv:1607.06450. Sums are in float64, in
    the order of planes and positions. Reads 12 bytes per lane, writes 4.
    """
    per, least = out.size // groups, np.float32(floor)
    count = np.float64(per * (size // width))
    sums, middle = np.empty(width, np.float64), np.empty(width, np.float32)
    for g in range(groups):
        mean, root = saved[0, g], saved[1, g]
        _sum(sums, memory, src[g * per : (g + 1) * per], size, width)
        for n in range(width):
            middle[n] = np.float32(sums[n] / count)
        _sum_squares(sums, memory, src[g * per : (g + 1) * per], size, middle)
        for n in range(width):
            mean[n] = middle[n]
            root[n] = np.float32(1.0 / np.sqrt(sums[n] / count + epsilon))
        for c in range(g * per, (g + 1) * per):
            a, b = weights[scale[c]], weights[shift[c]]
            for p in range(0, size, width):
                x = memory[src[c] + p : src[c] + p + width]
                y = memory[out[c] + p : out[c] + p + width]
                for n in range(width):
                    value = (x[n] - mean[n]) * root[n] * a + b
                    y[n] = least if value < least else value


@kernel
def normalise_back(
    memory: NDArray[np.float32], src: NDArray[np.int64], up: NDArray[np.int64],
    down: NDArray[np.int64], size: int, width: int, groups: int, weights: NDArray[np.float32],
    grad: NDArray[np.float32], scale: NDArray[np.int64], shift: NDArray[np.int64],
    saved: NDArray[np.float32], kept: NDArray[np.uint8], wanted: NDArray[np.uint8], trained: bool,
    fresh: bool, gate: int,
) -> None:
    """Pass the gradient of `normalise` down to x, scale and shift.

    Parameters
    ----------
    memory : float32[.], changed in place
    src, up, down : int64[C]
        Planes of x, of the gradient of the result, and of the gradient of x.
    size, width : int
    groups : int
    weights : float32[P]
    grad : float32[P], changed in place
    scale, shift : int64[C]
        Offsets in `weights` and `grad`.
    saved : float32[2, groups, width]
    kept, wanted : uint8[C]
        `kept` is 0 for planes whose result has a gradient of 0, which is not read. `wanted` is 1
        for planes whose gradient of x is written.
    trained, fresh : bool
        Whether `grad` is written; True to overwrite `down`, False to add to it.
    gate : int
        As in `conv.mix`.

    Notes
    -----
    With y the normalised x, s the scale and n values: dx = (s dz - mean(s dz) - y mean(s dz y)) /
    sqrt(variance + epsilon). Reads 16 bytes per lane, writes 4.
    """
    per = src.size // groups
    count = np.float64(per * (size // width))
    total, product = np.empty(width, np.float64), np.empty(width, np.float64)
    one, two = np.empty(width, np.float64), np.empty(width, np.float64)
    plain, along = np.empty(width, np.float32), np.empty(width, np.float32)
    for g in range(groups):
        mean, root = saved[0, g], saved[1, g]
        total[:], product[:] = 0.0, 0.0
        for c in range(g * per, (g + 1) * per):
            if not kept[c]:
                continue
            _sum_pairs(one, two, memory, up[c], src[c], size, mean)
            s, sum_, sum_along = np.float64(weights[scale[c]]), 0.0, 0.0
            for n in range(width):
                two[n] *= np.float64(root[n])
                total[n] += s * one[n]
                product[n] += s * two[n]
                sum_ += one[n]
                sum_along += two[n]
            if trained:
                grad[shift[c]], grad[scale[c]] = np.float32(sum_), np.float32(sum_along)
        for n in range(width):
            plain[n] = np.float32(total[n] / count)
            along[n] = np.float32(product[n] / count)
        for c in range(g * per, (g + 1) * per):
            if wanted[c]:
                _back(memory, src[c], up[c], down[c], size, mean, root, plain, along,
                      weights[scale[c]], kept[c], fresh, gate)  # fmt: skip


@kernel
def _sum(
    sums: NDArray[np.float64], memory: NDArray[np.float32], planes: NDArray[np.int64], size: int,
    width: int,
) -> None:
    """Write the sum over planes and positions of each lane."""
    sums[:] = 0.0
    for c in range(planes.size):
        for p in range(planes[c], planes[c] + size, width):
            x = memory[p : p + width]
            for n in range(width):
                sums[n] += np.float64(x[n])


@kernel
def _sum_squares(
    sums: NDArray[np.float64], memory: NDArray[np.float32], planes: NDArray[np.int64], size: int,
    centre: NDArray[np.float32],
) -> None:
    """Write the sum of (x - centre)^2 over planes and positions of each lane."""
    width = centre.size
    sums[:] = 0.0
    for c in range(planes.size):
        for p in range(planes[c], planes[c] + size, width):
            x = memory[p : p + width]
            for n in range(width):
                value = np.float64(x[n] - centre[n])
                sums[n] += value * value


@kernel
def _sum_pairs(
    one: NDArray[np.float64], two: NDArray[np.float64], memory: NDArray[np.float32], up: int,
    src: int, size: int, mean: NDArray[np.float32],
) -> None:
    """Write the sums of dz and of dz (x - mean) over the positions of each lane."""
    width = mean.size
    one[:], two[:] = 0.0, 0.0
    for p in range(0, size, width):
        d, x = memory[up + p : up + p + width], memory[src + p : src + p + width]
        for n in range(width):
            one[n] += np.float64(d[n])
            two[n] += np.float64(d[n]) * np.float64(x[n] - mean[n])


@kernel
def _back(
    memory: NDArray[np.float32], src: int, up: int, down: int, size: int, mean: NDArray[np.float32],
    root: NDArray[np.float32], plain: NDArray[np.float32], along: NDArray[np.float32],
    a: np.float32, kept: np.uint8, fresh: bool, gate: int,
) -> None:
    """Write or add the gradient of x for one plane; `a` is its scale."""
    width = mean.size
    for p in range(0, size, width):
        x, d = memory[src + p : src + p + width], memory[up + p : up + p + width]
        z, active = memory[down + p : down + p + width], memory[down + p + gate :]
        for n in range(width):
            arrived = a * d[n] if kept else np.float32(0)
            y = (x[n] - mean[n]) * root[n]
            value = (arrived - plain[n] - y * along[n]) * root[n]
            value = value if fresh else value + z[n]
            z[n] = value if gate == 0 or active[n] > 0 else np.float32(0)
