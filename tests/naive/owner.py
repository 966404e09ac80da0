"""Twins of kernels/owner.py. Every coordinate of the range is computed from all ranks."""

import numpy as np


def dense(total, cover, touched, lo, hi, sums, covers, marks):
    starts = np.arange(len(total) + 1)
    rows = sums, covers, marks.view(np.uint8)
    return blocks(total, cover, touched, starts, lo, hi, *rows, None)


def blocks(total, cover, touched, starts, lo, hi, sums, covers, marks, seen):
    size = 0
    for u in range(len(starts) - 1):
        mine = range(max(starts[u], lo), min(starts[u + 1], hi))
        for i in mine:
            total[i] = 0
            for r in np.flatnonzero(marks[:, u]):
                total[i] += sums[r, i]
        if marks[:, u].any():
            size += len(mine)
        if lo <= starts[u] < hi:
            touched[u] = marks[:, u].max()
            if len(cover):
                cover[u] = covers[:, u].sum()
    return size
