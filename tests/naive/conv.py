"""Slow, obvious twins of kernels/conv.py. They take the parts of a table, not the table."""

import numpy as np


def mix(out, src, weights, parts, start, floor, gate):
    row_out, row_weight, bias, channel_weight, channel_src, tap_weight, tap_src, runs = parts
    given = out.copy()
    for o in range(len(row_out)):
        for place, at, size, t0, t1 in runs:
            for p in range(size):
                here = row_out[o] + place + p
                total = [0.0, weights[bias[o]], given[here]][start]
                for j in range(len(channel_src)):
                    for t in range(t0, t1):
                        w = weights[row_weight[o] + channel_weight[j] + tap_weight[t]]
                        x = src[channel_src[j] + tap_src[t] + at + p]
                        total = total + np.float64(w) * np.float64(x)
                total = max(total, floor)
                if gate and not given[here + gate] > 0:
                    total = 0.0
                out[here] = total


def mix_samples(out, src, parts, samples):
    *parts, runs = parts
    runs = [(place, at, size, 0, samples[0]) for place, at, size, _, _ in runs]
    mix(out, src, src, (*parts, runs), 0, -np.inf, 0)


def correlate(out, left, right, parts):
    row_left, row_out, col_right, col_out, runs, blocks = parts
    for k0, k1, m0, m1 in blocks:
        for o in range(len(row_left)):
            for k in range(k0, k1):
                total = 0.0
                for at, start, size in runs[m0:m1]:
                    a = left[row_left[o] + at : row_left[o] + at + size].astype(np.float64)
                    b = right[col_right[k] + start : col_right[k] + start + size]
                    total += (a * b).sum()
                out[row_out[o] + col_out[k]] += total


def row_sums(out, places, src, planes, size):
    for place, plane in zip(places, planes, strict=True):
        out[place] = src[plane : plane + size].astype(np.float64).sum()
