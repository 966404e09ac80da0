"""Twins of kernels/select.py: a full sort."""

import numpy as np


def order(values):
    """Positions by falling magnitude, ties by rising position; bits order NaN and inf."""
    bits = [int(word) & 0x7FFFFFFF for word in values.view(np.uint32)]
    return sorted(range(len(bits)), key=lambda i: (-bits[i], i))


def top(values, indices, picked):
    chosen = sorted(order(values)[: len(indices)])
    indices[:] = chosen
    picked[:] = values[chosen]


def feedback(update, residual, indices, picked):
    residual += update
    top(residual, indices, picked)
    residual[indices] = 0


def top_segments(values, starts, counts, indices, picked):
    at = 0
    for s, wanted in enumerate(counts):
        here = slice(at, at + wanted)
        top(values[starts[s] : starts[s + 1]], indices[here], picked[here])
        indices[here] += np.uint32(starts[s])
        at += wanted


def feedback_segments(update, residual, starts, counts, indices, picked):
    residual += update
    top_segments(residual, starts, counts, indices, picked)
    residual[indices] = 0


def top_flags(values, count, flags):
    flags[:] = 0
    flags[order(values)[:count]] = 1


def threshold(values, count):
    bits = values.view(np.uint32) & np.uint32(0x7FFFFFFF)
    lowest = bits[order(values)[count - 1]]
    return lowest, count - sum(bits > lowest)
