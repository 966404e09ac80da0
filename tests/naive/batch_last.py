"""Slow, obvious twins of kernels/batch_last.py."""

import numpy as np


def enter(memory, places, x, width):
    for d, place in enumerate(places):
        memory[place : place + width] = 0
        for n in range(len(x)):
            memory[place + n] = x[n, d]


def transpose(memory, out, src, rows, width, pitch):
    for i in range(rows):
        for n in range(width):
            memory[out + n * pitch + i] = memory[src + i * width + n]


def add_magnitudes(totals, memory, planes, size, mask):
    for c, plane in enumerate(planes):
        for p in range(size):
            if mask[p % len(mask)]:
                totals[c] += abs(np.float64(memory[plane + p]))


def rectify(memory, start, size):
    for i in range(start, start + size):
        if memory[i] < 0:
            memory[i] = 0


def clear(memory, start, size):
    for i in range(start, start + size):
        memory[i] = 0


def add(memory, out, one, other, size, floor):
    for i in range(size):
        memory[out + i] = max(memory[one + i] + memory[other + i], np.float32(floor))


def pass_on(memory, down, up, size, fresh, gate):
    for i in range(size):
        value = memory[up + i] + (0 if fresh else memory[down + i])
        closed = gate and not memory[down + gate + i] > 0
        memory[down + i] = 0 if closed else value
