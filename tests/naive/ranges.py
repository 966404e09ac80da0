"""Twins of kernels/ranges.py."""

import numpy as np

from tests.naive.merge import blocks


def loads(touched, starts, width, sample, out):
    out[:] = 0
    for block in blocks(starts, 0, 2**62, np.flatnonzero(touched)):
        for i in block:
            if len(starts):
                out[i // width] += 1
            elif i % width < width // sample:
                out[i // width] += sample


def cut(loads, width, size, shares, bounds):
    """Walk the coordinates one by one; cuts may be a coordinate off where bins are split."""
    lo, hi = bounds[0], bounds[-1]
    filled = [max(min(size - b * width, width), 0) for b in range(loads.shape[1])]
    each = [1 + 16 * loads[:, i // width].sum() / filled[i // width] for i in range(lo, hi)]
    below = np.concatenate(([0], np.cumsum(each)))
    for part in range(1, len(shares)):
        aim = below[-1] * sum(shares[:part]) / sum(shares)
        bounds[part] = max((lo + np.searchsorted(below, aim)) // 64 * 64, lo)
