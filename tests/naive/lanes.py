"""The tiles' arithmetic, number by number."""

import numpy as np


def outer(tile, scalars, places, i, step, array, at):
    out = tile.copy()
    for r, c, lane in np.ndindex(tile.shape):
        out[r, c, lane] += scalars[places[i + r] + step] * array[at + 16 * c + lane]
    return out


def inner(tile, left, places, i, at, right, columns, j, start):
    out = tile.copy()
    for r, c, lane in np.ndindex(tile.shape):
        a, b = left[places[i + r] + at + lane], right[columns[j + c] + start + lane]
        out[r, c, lane] += a * b
    return out


def sums(tile):
    return tile.astype(np.float64).sum(axis=2).reshape(-1)
