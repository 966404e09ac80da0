"""Tables of offsets that list the terms of each sum for the kernels of `conv`.

A table is one int64 vector. It begins with its counts and the position of each of its parts.
Kernels write it, because clients that train different rows each need a table of their own.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels import lanes
from fedmpi.kernels._jit import kernel

# Terms of a sum that are added in one pass. With 16 lanes at once (AVX2), the planes' lines for 144
# terms stay in the first-level cache from one position to the next; four times as many terms are up
# to a seventh slower. With 64 lanes at once (AVX-512) the lines fill the cache anyway, and the
# weights for 576 terms and 6 rows take a quarter of it. The bits are the same.
_TERMS = 576 if lanes.WIDTH == 16 else 144
# Number of lanes that are computed for all rows before the next ones, times the planes that they
# read: 256 KiB, which stay in the second-level cache.
_FLOATS, _LEAST = 1 << 16, 128
SPARE = 8  # entries after the last row or column, so that tiles may reach beyond it


@kernel
def mix_table(
    out: NDArray[np.int64], weight: NDArray[np.int64], bias: NDArray[np.int64],
    channel_weight: NDArray[np.int64], channel_src: NDArray[np.int64],
    tap_weight: NDArray[np.int64], tap_src: NDArray[np.int64], runs: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the table of `conv.mix`, int64[.], from its parts.

    Parameters
    ----------
    out, weight, bias : int64[O]
        Offset of each row in `out`, in `weights`, and of its bias in `weights`.
    channel_weight, channel_src : int64[J]
        Offset of each channel in `weights` and in `src`.
    tap_weight, tap_src : int64[T]
        Offset of each tap in `weights` and in `src`.
    runs : int64[M, 5]
        Offset in `out`, offset in `src`, lanes, first tap, end of the taps.
    """
    taps = _most_taps(runs)
    block = max(1, _TERMS // taps)
    planes = taps if channel_src.size == 1 else min(block, max(1, channel_src.size))
    together = max(_LEAST, _FLOATS // planes // 64 * 64)
    runs = _cut(runs, together)
    rows = 3 * (out.size + SPARE)
    size = rows + channel_weight.size + channel_src.size + tap_weight.size + tap_src.size
    table = np.empty(13 + size + runs.size, np.int64)
    table[0], table[1], table[2] = out.size, channel_src.size, runs.shape[0]
    table[3], table[4] = block, together
    at = 13
    for part, values in enumerate((out, weight, bias)):
        at = _put(table, 5 + part, at, values)
        at = _put_spare(table, at, values[-1] if values.size else 0)
    for part, values in enumerate((channel_weight, channel_src, tap_weight, tap_src)):
        at = _put(table, 8 + part, at, values)
    _put(table, 12, at, runs.reshape(-1))
    return table


@kernel
def correlate_table(
    left: NDArray[np.int64], row_out: NDArray[np.int64], right: NDArray[np.int64],
    col_out: NDArray[np.int64], runs: NDArray[np.int64], parts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the table of `conv.correlate`, int64[.], from its parts.

    Parameters
    ----------
    left, row_out : int64[O]
        Offset of each row in `left` and in `out`.
    right, col_out : int64[K]
        Offset of each column in `right` and in `out`. The columns of each part end with SPARE
        repetitions, whose `col_out` is -1.
    runs : int64[M, 3]
        Offset in `left`, offset in `right`, lanes.
    parts : int64[B, 4]
        First column, end of the columns, first run, end of the runs.
    """
    rows, columns = 2 * (left.size + SPARE), right.size + col_out.size
    table = np.empty(8 + rows + columns + runs.size + parts.size, np.int64)
    table[0], table[1] = left.size, parts.shape[0]
    at = _put(table, 2, 8, left)
    at = _put_spare(table, at, left[-1] if left.size else 0)
    at = _put(table, 3, at, row_out)
    at = _put_spare(table, at, -1)
    at = _put(table, 4, at, right)
    at = _put(table, 5, at, col_out)
    at = _put(table, 6, at, runs.reshape(-1))
    _put(table, 7, at, parts.reshape(-1))
    return table


def padded(places: NDArray[np.int64], last: int | None = None) -> NDArray[np.int64]:
    """Return int64: the places, followed by SPARE times the last place (or `last`)."""
    spare = places[-1:] if last is None else np.full(min(1, len(places)), last)
    return np.concatenate([places, np.repeat(spare, SPARE)]).astype(np.int64)


@kernel
def _most_taps(runs: NDArray[np.int64]) -> np.int64:
    most = np.int64(1)
    for m in range(runs.shape[0]):
        most = max(most, runs[m, 4] - runs[m, 3])
    return most


@kernel
def _cut(runs: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return the runs in pieces of `most` lanes; the last has up to `most` + 15."""
    pieces = 0
    for m in range(runs.shape[0]):
        pieces += max(1, (runs[m, 2] - 16) // most + 1)
    cut, at = np.empty((pieces, 5), np.int64), 0
    for m in range(runs.shape[0]):
        p, size = 0, runs[m, 2]
        while size - p >= most + 16:
            cut[at, 0], cut[at, 1], cut[at, 2] = runs[m, 0] + p, runs[m, 1] + p, most
            cut[at, 3], cut[at, 4] = runs[m, 3], runs[m, 4]
            p, at = p + most, at + 1
        cut[at, 0], cut[at, 1], cut[at, 2] = runs[m, 0] + p, runs[m, 1] + p, size - p
        cut[at, 3], cut[at, 4] = runs[m, 3], runs[m, 4]
        at += 1
    return cut


@kernel
def _put(table: NDArray[np.int64], part: int, at: int, values: NDArray[np.int64]) -> int:
    """Write a part of a table at `at`, and `at` into table[part]; return the position after it."""
    table[part] = at
    for i in range(values.size):
        table[at + i] = values[i]
    return at + values.size


@kernel
def _put_spare(table: NDArray[np.int64], at: int, value: int) -> int:
    for i in range(at, at + SPARE):
        table[i] = value
    return at + SPARE
