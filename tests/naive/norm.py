"""Slow, obvious twins of kernels/norm.py, in float64."""

import numpy as np


def samples(memory, plane, size, mask):
    """float64[positions, n]: the lanes of a plane that hold samples."""
    held = mask[: len(mask) // 16] == 1
    return memory[plane : plane + size].reshape(-1, len(held))[:, held].astype(np.float64)


def affine(x, scale, shift, mean, variance, epsilon, floor):
    y = (x.astype(np.float64) - mean) / np.sqrt(variance + epsilon)
    return np.maximum(y * scale + shift, floor)


def normalise(memory, out, src, size, mask, weights, scale, shift, saved, epsilon, floor):
    for c in range(len(out)):
        x = samples(memory, src[c], size, mask)
        saved[:, c] = x.mean(), x.var()
        memory[out[c] : out[c] + size] = affine(
            memory[src[c] : src[c] + size], weights[scale[c]], weights[shift[c]],
            x.mean(), x.var(), epsilon, floor,
        )  # fmt: skip


def apply(memory, out, src, size, weights, scale, shift, mean, variance, epsilon, floor):
    for c in range(len(out)):
        memory[out[c] : out[c] + size] = affine(
            memory[src[c] : src[c] + size], weights[scale[c]], weights[shift[c]],
            weights[mean[c]], weights[variance[c]], epsilon, floor,
        )  # fmt: skip


def normalise_back(
    memory, src, up, down, size, mask, weights, grad, scale, shift, saved, channels, epsilon,
    trained, fresh, gate,
):  # fmt: skip
    for k, c in enumerate(channels):
        root = 1 / np.sqrt(np.float64(saved[1, c]) + epsilon)
        y = (samples(memory, src[k], size, mask) - saved[0, c]) * root
        dy = samples(memory, up[k], size, mask)
        if trained:
            grad[scale[k]] = (dy * y).sum()
            grad[shift[k]] = dy.sum()
        held = mask[: len(mask) // 16] == 1
        dx = np.zeros((size // len(held), len(held)))
        dx[:, held] = weights[scale[k]] * root * (dy - dy.mean() - y * (dy * y).mean())
        below = slice(down[k], down[k] + size)
        total = dx.reshape(-1) + (0 if fresh else memory[below])
        if gate:
            total[~(memory[down[k] + gate : down[k] + gate + size] > 0)] = 0
        memory[below] = total


def track(weights, mean, variance, saved, channels, mask, size, rate):
    count = mask.sum() * size / len(mask)
    for k, c in enumerate(channels):
        unbiased = saved[1, c] * count / max(count - 1, 1)
        weights[mean[k]] = (1 - rate) * weights[mean[k]] + rate * saved[0, c]
        weights[variance[k]] = (1 - rate) * weights[variance[k]] + rate * unbiased
