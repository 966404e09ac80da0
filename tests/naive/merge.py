"""Twins of kernels/merge.py."""

import numpy as np


def blocks(starts, lo, hi, units):
    """Return, for each unit, its coordinates in lo..hi-1."""
    whole = [(u, u + 1) if len(starts) == 0 else (starts[u], starts[u + 1]) for u in units]
    return [range(max(a, lo), min(b, hi)) for a, b in whole]


def span(starts, lo, hi):
    if len(starts) == 0 or lo >= hi:
        return lo, hi
    met = [u for u in range(len(starts) - 1) if starts[u] < hi and starts[u + 1] > lo]
    return met[0], met[-1] + 1


def extent(starts, lo, hi, units):
    return sum(len(block) for block in blocks(starts, lo, hi, units))


def take(total, cover, starts, lo, hi, units, values, weights):
    values[:] = [total[i] for block in blocks(starts, lo, hi, units) for i in block]
    if len(cover):
        weights[:] = [cover[u] for u in units]


def add_list(total, cover, touched, starts, lo, hi, units, values, weights):
    values = iter(values)
    for j, (u, block) in enumerate(zip(units, blocks(starts, lo, hi, units), strict=True)):
        touched[u] = 1
        if len(cover):
            cover[u] += weights[j] if len(weights) > 1 else weights[0]
        for i in block:
            total[i] += next(values)


def drop(total, cover, touched, starts, lo, hi, units):
    for u, block in zip(units, blocks(starts, lo, hi, units), strict=True):
        for i in block:
            total[i] = 0
        size = 1 if len(starts) == 0 else starts[u + 1] - starts[u]
        if len(block) == size:
            touched[u] = 0
            if len(cover):
                cover[u] = 0


def loads(touched, starts, width, out):
    out[:] = 0
    for block in blocks(starts, 0, 2**62, np.flatnonzero(touched)):
        for i in block:
            out[i // width] += 1


def list_loads(units, width, out):
    out[:] = 0
    for u in units:
        out[u // width] += 1
