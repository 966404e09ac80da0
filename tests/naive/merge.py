"""Twins of kernels/merge.py."""

import numpy as np


def blocks(starts, lo, hi, units):
    """Return, for each unit, its coordinates in lo..hi-1."""
    whole = [(u, u + 1) if len(starts) == 0 else (starts[u], starts[u + 1]) for u in units]
    return [range(max(a, lo), min(b, hi)) for a, b in whole]


def span(starts, lo, hi):
    if len(starts) == 0 or lo >= hi:
        return lo, hi
    met = [u for u in range(len(starts) - 1) if starts[u] < hi and starts[u + 1] > lo]
    return met[0], met[-1] + 1


def extent(starts, lo, hi, units):
    return sum(len(block) for block in blocks(starts, lo, hi, units))


def take(total, cover, starts, lo, hi, units, values, weights):
    values[:] = [total[i] for block in blocks(starts, lo, hi, units) for i in block]
    if len(cover):
        weights[:] = [cover[u] for u in units]


def add_list(total, cover, touched, starts, lo, hi, units, values, weights, fresh):
    values = iter(values)
    for j, (u, block) in enumerate(zip(units, blocks(starts, lo, hi, units), strict=True)):
        touched[u] = 1
        if len(cover):
            cover[u] = fresh_or_sum(cover[u], weights[j] if len(weights) > 1 else weights[0], fresh)
        for i in block:
            total[i] = fresh_or_sum(total[i], next(values), fresh)


def fresh_or_sum(old, new, fresh):
    return new if fresh else old + new


def drop(total, cover, touched, starts, lo, hi, units):
    for u, block in zip(units, blocks(starts, lo, hi, units), strict=True):
        for i in block:
            total[i] = 0
        size = 1 if len(starts) == 0 else starts[u + 1] - starts[u]
        if len(block) == size:
            touched[u] = 0
            if len(cover):
                cover[u] = 0


def fingerprint(touched, out):
    lanes, whole = [1, 2, 3, 4], len(touched) // 32 * 32
    words = [int.from_bytes(touched[i : i + 8].tobytes(), "little") for i in range(0, whole, 8)]
    for w, word in enumerate(words):
        lanes[w % 4] = stir(lanes[w % 4] ^ word)
    for mark in touched[whole:]:
        lanes[0] = stir(lanes[0] ^ int(mark))
    out[:] = lanes


def stir(state):
    state ^= (state << 13) % 2**64
    state ^= state >> 7
    return state ^ (state << 17) % 2**64


def copy(total, touched, starts, out):
    for block in blocks(starts, 0, 2**62, np.flatnonzero(touched)):
        for i in block:
            out[i] = total[i]


def clear(total, cover, touched, starts):
    for block in blocks(starts, 0, 2**62, np.flatnonzero(touched)):
        for i in block:
            total[i] = 0
    cover[:], touched[:] = 0, 0
