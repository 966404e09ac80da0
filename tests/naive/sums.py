"""Twins of kernels/sums.py."""

import numpy as np


def largest_kept(starts, keep, values):
    kept = [values[i] for u in range(len(keep)) if keep[u] for i in range(starts[u], starts[u + 1])]
    if not np.all(np.isfinite(kept)):
        return np.inf
    return max((abs(float(x)) for x in kept), default=0.0)


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


def mean_with_old(out, old, total, cover, starts, every):
    for u in range(len(cover)):
        for i in range(starts[u], starts[u + 1]):
            missing = (every - float(cover[u])) * float(old[i])
            out[i] = np.float32((float(total[i]) + missing) / every) if cover[u] > 0 else old[i]
