"""Twins of kernels/sums.py."""

import numpy as np


def largest(values):
    if not np.all(np.isfinite(values)):
        return np.inf
    return max((abs(float(x)) for x in values), default=0.0)


def add_exact(total, starts, keep, values, share):
    for u in range(len(keep)):
        for i in range(starts[u], starts[u + 1]):
            if keep[u] == 1:
                total[i] += round(share * 2.0**44 * float(values[i]))


def add_fast(total, starts, keep, values, share):
    for u in range(len(keep)):
        for i in range(starts[u], starts[u + 1]):
            if keep[u] == 1:
                total[i] = np.float32(total[i] + np.float32(np.float32(share) * values[i]))


def mean(out, old, total, cover, starts):
    for u in range(len(cover)):
        for i in range(starts[u], starts[u + 1]):
            covered = cover[u] > 0
            out[i] = np.float32(float(total[i]) / float(cover[u])) if covered else old[i]
