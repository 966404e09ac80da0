"""Twins of kernels/scores.py, in exact arithmetic."""

from math import fsum, sqrt


def magnitudes(values, out):
    for i in range(len(values)):
        out[i] = abs(values[i])


def norms(values, starts, power, out):
    for u in range(len(out)):
        block = [float(x) for x in values[starts[u] : starts[u + 1]]]
        out[u] = fsum(map(abs, block)) if power == 1 else sqrt(fsum(x * x for x in block))


def add_activations(outputs, sums):
    for c in range(len(sums)):
        sums[c] += fsum(abs(float(y)) for y in outputs[:, c].ravel())


def add_relevance(outputs, gradients, sums):
    pairs = [(outputs[:, c].ravel(), gradients[:, c].ravel()) for c in range(len(sums))]
    for c, (a, g) in enumerate(pairs):
        sums[c] -= fsum(float(x) * float(y) for x, y in zip(a, g))
