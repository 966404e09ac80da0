"""Twins of kernels/moves.py."""

import numpy as np


def compress(values, flags, out):
    out[:] = [values[i] for i in range(len(flags)) if flags[i] != 0]


def expand(packed, flags, out):
    at = 0
    for i in range(len(flags)):
        out[i] = 0
        if flags[i] != 0:
            out[i] = packed[at]
            at += 1


def gather(values, starts, flags, out):
    parts = [values[starts[u] : starts[u + 1]] for u in range(len(flags)) if flags[u] != 0]
    out[:] = np.concatenate([*parts, np.zeros(0, values.dtype)])


def scatter(packed, starts, flags, out):
    at = 0
    out[:] = 0
    for u in range(len(flags)):
        if flags[u] != 0:
            for i in range(starts[u], starts[u + 1]):
                out[i] = packed[at]
                at += 1


def put(packed, starts, flags, out):
    at = 0
    for u in range(len(flags)):
        for i in range(starts[u], starts[u + 1] if flags[u] != 0 else 0):
            out[i] = packed[at]
            at += 1
