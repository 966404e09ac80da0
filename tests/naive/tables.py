"""Slow, obvious twins of kernels/tables.py."""

import numpy as np

from fedmpi.kernels import lanes

SPARE, FLOATS, LEAST = 8, 1 << 16, 128
TERMS = 576 if lanes.WIDTH == 16 else 144


def joined(counts, parts):
    """The counts, where each part begins, and the parts."""
    starts, at = [], len(counts) + len(parts)
    for part in parts:
        starts.append(at)
        at += len(part)
    return np.array([*counts, *starts, *(number for part in parts for number in part)], np.int64)


def spared(values, last):
    return [*values, *[last] * SPARE]


def pieces(place, at, size, t0, t1, most):
    """The run in pieces of `most` lanes, none shorter than 16."""
    if size < most + 16:
        return [(place, at, size, t0, t1)]
    rest = pieces(place + most, at + most, size - most, t0, t1, most)
    return [(place, at, most, t0, t1), *rest]


def mix_table(out, weight, bias, channel_weight, channel_src, tap_weight, tap_src, runs):
    most = max([1, *(t1 - t0 for *_, t0, t1 in runs)])
    block = max(1, TERMS // most)
    planes = most if len(channel_src) == 1 else min(block, len(channel_src))
    together = max(LEAST, FLOATS // planes // 64 * 64)
    runs = np.array([piece for run in runs for piece in pieces(*run, together)])
    counts = len(out), len(channel_src), len(runs), block, together
    rows = [spared(values, values[-1] if len(values) else 0) for values in (out, weight, bias)]
    parts = [*rows, channel_weight, channel_src, tap_weight, tap_src, runs.reshape(-1)]
    return joined(counts, parts)


def correlate_table(left, row_out, right, col_out, runs, parts):
    rows = [spared(left, left[-1] if len(left) else 0), spared(row_out, -1)]
    flat = [right, col_out, runs.reshape(-1), parts.reshape(-1)]
    return joined((len(left), len(parts)), [*rows, *flat])
