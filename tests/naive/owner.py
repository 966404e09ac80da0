"""Twins of kernels/owner.py. Every coordinate of the range is made anew from all ranks."""

import numpy as np


def term(total, value, scale):
    if total.dtype == np.int64 and value.dtype == np.float32:
        return round(scale * float(value))
    return value


def forget(total, cover, touched, fresh):
    for array in (total, cover, touched):
        if len(array):
            array[fresh] = 0


def lists(total, cover, touched, lo, hi, counts, units, values, scales, weights, scan, fresh):
    for array in (total, cover, touched):
        if len(array) and scan:
            array[lo:hi] = 0
    for r in range(len(counts)):
        for j, u in enumerate(units[r, : counts[r]]):
            if lo <= u < hi:
                total[u] += term(total, values[r, j], scales[r])
                touched[u] = 1
                if len(cover):
                    cover[u] += weights[r, j if weights.shape[1] > 1 else 0]
    return int(touched[lo:hi].sum())


def dense(total, cover, touched, lo, hi, ranks, sums, covers, marks, scales):
    starts = np.arange(len(total) + 1)
    rows = sums[ranks], covers[ranks], marks.view(np.uint8)[ranks], scales[ranks]
    return blocks(total, cover, touched, starts, lo, hi, *rows, None)


def blocks(total, cover, touched, starts, lo, hi, sums, covers, marks, scales, seen):
    size = 0
    for u in range(len(starts) - 1):
        mine = range(max(starts[u], lo), min(starts[u + 1], hi))
        for i in mine:
            total[i] = 0
            for r in np.flatnonzero(marks[:, u]):
                total[i] += term(total, sums[r, i], scales[r])
        if marks[:, u].any():
            size += len(mine)
        if lo <= starts[u] < hi:
            touched[u] = marks[:, u].max()
            if len(cover):
                cover[u] = covers[:, u].sum()
    return size
