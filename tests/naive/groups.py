"""Slow, obvious twins of kernels/groups.py, in float64."""

import numpy as np


def values(memory, planes, size, width):
    """float64[planes, positions, width]."""
    return np.array([memory[p : p + size].reshape(-1, width) for p in planes], np.float64)


def parts(count, groups):
    """The planes of each group."""
    return np.split(np.arange(count), groups)


def normalise(memory, out, src, size, width, groups, weights, scale, shift, saved, epsilon, floor):
    for g, planes in enumerate(parts(len(out), groups)):
        x = values(memory, src[planes], size, width)
        saved[0, g] = x.mean((0, 1))
        saved[1, g] = 1 / np.sqrt(x.var((0, 1)) + epsilon)
        y = (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + epsilon)
        for c, plane in zip(planes, y, strict=True):
            z = np.maximum(plane * weights[scale[c]] + weights[shift[c]], floor)
            memory[out[c] : out[c] + size] = z.reshape(-1)


def normalise_back(
    memory, src, up, down, size, width, groups, weights, grad, scale, shift, saved, kept, wanted,
    trained, fresh, gate,
):  # fmt: skip
    for g, planes in enumerate(parts(len(src), groups)):
        y = (values(memory, src[planes], size, width) - saved[0, g]) * saved[1, g]
        dz = values(memory, up[planes], size, width)
        dz[kept[planes] == 0] = 0
        if trained:
            for c, one, other in zip(planes, dz, y, strict=True):
                if kept[c]:
                    grad[shift[c]], grad[scale[c]] = one.sum(), (one * other).sum()
        dy = dz * weights[scale[planes]][:, None, None]
        dx = (dy - dy.mean((0, 1)) - y * (dy * y).mean((0, 1))) * saved[1, g]
        for c, plane in zip(planes, dx, strict=True):
            if wanted[c]:
                below = slice(down[c], down[c] + size)
                total = plane.reshape(-1) + (0 if fresh else memory[below])
                if gate:
                    total[~(memory[down[c] + gate : down[c] + gate + size] > 0)] = 0
                memory[below] = total
