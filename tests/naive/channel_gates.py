"""Slow, obvious twins of kernels/channel_gates.py; sums are in float64."""

import numpy as np


def means(memory, out, src, rows, size, width, share, squash):
    for o, s in zip(out, src, strict=True):
        for n in range(width):
            places = [s + row + p + n for row in rows for p in range(0, size, width)]
            mean = share * memory[places].astype(np.float64).sum()
            memory[o + n] = 1 / (1 + np.exp(-mean)) if squash else mean


def means_back(memory, out, up, down, size, width, share, squash, fresh, gate):
    for o, u, d in zip(out, up, down, strict=True):
        for p in range(size):
            n = p % width
            given = share * memory[u + n]
            if squash:
                given *= memory[o + n] * (1 - memory[o + n])
            memory[d + p] = given + (0 if fresh else memory[d + p])
            if gate and not memory[d + p + gate] > 0:
                memory[d + p] = 0


def keep(memory, planes, kept, width):
    for n in range(width):
        values = [memory[plane + n] for plane in planes]
        order = sorted(range(len(values)), key=lambda c: -values[c])  # stable
        for c in order[kept:]:
            memory[planes[c] + n] = 0


def scale(memory, out, src, gates, size, width, floor):
    for o, s, g in zip(out, src, gates, strict=True):
        for p in range(size):
            memory[o + p] = max(memory[s + p] * memory[g + p % width], floor)


def scale_back(memory, up, src, down, gates, slopes, size, width, passed, opened):
    for k in range(len(up)):
        for n in range(width):
            places = np.arange(n, size, width)
            gate, given = memory[gates[k] + n], memory[up[k] + places]
            if opened[k]:
                pull = (given.astype(np.float64) * memory[src[k] + places]).sum()
                memory[slopes[k] + n] = pull if gate > 0 else 0
            if passed[k]:
                memory[down[k] + places] = given * gate
