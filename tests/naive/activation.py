"""Slow, obvious twins of kernels/activation.py, in float64."""

import numpy as np


def activate(memory, out, src, size, sigmoid, floor):
    for to, at in zip(out, src, strict=True):
        x = memory[at : at + size].astype(np.float64)
        value = 1 / (1 + np.exp(-x)) if sigmoid else np.tanh(x)
        memory[to : to + size] = np.maximum(value, floor)


def activate_back(memory, out, up, down, size, sigmoid, fresh, gate):
    for c in range(len(out)):
        for i in range(size):
            o, below = float(memory[out[c] + i]), down[c] + i
            slope = o * (1 - o) if sigmoid else 1 - o * o
            before = 0 if fresh else memory[below]
            memory[below] = before + memory[up[c] + i] * slope
            if gate and not memory[below + gate] > 0:
                memory[below] = 0
