"""Twins of kernels/select.py: a full sort."""

import numpy as np


def order(values):
    """Positions by falling magnitude, ties by rising position; bits order NaN and inf."""
    bits = [int(word) & 0x7FFFFFFF for word in values.view(np.uint32)]
    return sorted(range(len(bits)), key=lambda i: (-bits[i], i))


def reaching(values, begin, end, floor):
    """Positions in begin..end whose magnitude has bits of `floor` or more."""
    bits = values.view(np.uint32)
    return [i for i in range(begin, end) if int(bits[i]) & 0x7FFFFFFF >= floor]


def top(values, indices, picked):
    chosen = sorted(order(values)[: len(indices)])
    indices[:] = chosen
    picked[:] = values[chosen]


def feedback(update, residual, indices, picked):
    residual += update
    top(residual, indices, picked)
    residual[indices] = 0


def top_flags(values, count, flags):
    flags[:] = 0
    flags[order(values)[:count]] = 1
