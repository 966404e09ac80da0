"""Slow, obvious twins of kernels/batch_last.py."""

import numpy as np


def enter(memory, places, x, index, width):
    for d, place in enumerate(places):
        memory[place : place + width] = x[index[-1], d] if len(index) else 0
        for n, sample in enumerate(index):
            memory[place + n] = x[sample, d]


def transpose(memory, out, src, rows, width, pitch):
    for i in range(rows):
        for n in range(width):
            memory[out + n * pitch + i] = memory[src + i * width + n]


def turn_weights(memory, out, weights, rows, columns, taps):
    for i, column in enumerate(columns):
        for k, row in enumerate(rows):
            for t in range(taps):
                memory[out + (i * len(rows) + k) * taps + t] = weights[row + column + t]


def measure(totals, memory, planes, size, mask, floor):
    width = len(mask) // 16
    for c, plane in enumerate(planes):
        for p in range(plane, plane + size):
            if mask[(p - plane) % width]:
                totals[c] += abs(np.float64(memory[p]))
            if memory[p] < floor:
                memory[p] = floor


def clear(memory, places, size):
    for place in places:
        for i in range(place, place + size):
            memory[i] = 0


def add(memory, out, one, other, size, floor):
    for i in range(size):
        memory[out + i] = max(memory[one + i] + memory[other + i], np.float32(floor))


def pass_on(memory, down, up, size, fresh, gate):
    for i in range(size):
        value = memory[up + i] + (0 if fresh else memory[down + i])
        closed = gate and not memory[down + gate + i] > 0
        memory[down + i] = 0 if closed else value
