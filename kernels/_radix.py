"""The steps of an exact selection: guess, collect, rank. Used by `kernels.select`.

Magnitudes are compared as unsigned integers, the 31 bits of |x|.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels import _vector as vector
from fedmpi.kernels._jit import kernel

_BLOCKS = 1024  # blocks of 16 neighbours that make up a sample
_SMALL = 1 << 15  # in a shorter array, every position is a candidate
_MAGNITUDE = np.uint32(0x7FFFFFFF)


@kernel
def candidates_of(values: NDArray[np.float32], count: int) -> NDArray[np.uint32]:
    """Return uint32[m]: ascending positions of the `count` largest magnitudes and a few more."""
    floor, room = guess(values, values[:0], count)
    candidates = np.empty(room, np.uint32)
    found = collect(values, 0, values.size, floor, candidates, 0)
    if found < count or found > room:
        candidates = candidates_by_histogram(values, count)
        found = candidates.size
    return candidates[:found]


@kernel
def guess(
    update: NDArray[np.float32], residual: NDArray[np.float32], count: int
) -> tuple[np.uint32, int]:
    """Return (floor, room): a magnitude (bits) that slightly more than `count` values reach.

    `residual` is added to `update` if it is not empty. `room` is the number of places to
    reserve for the candidates. The guess is deterministic: its sample is evenly spaced.
    """
    size = update.size
    samples = 16 * _BLOCKS
    expected = samples * (count / max(size, 1))
    rank = np.int64(expected + 4.0 * np.sqrt(expected)) + 8  # four standard deviations
    if size < _SMALL or rank >= samples // 2:
        return np.uint32(0), size
    sample = np.empty(samples, np.float32)
    for block in range(_BLOCKS):
        start = block * (size // _BLOCKS)
        for j in range(16):
            value = update[start + j]
            if residual.size:
                value += residual[start + j]
            sample[16 * block + j] = value
    bits = sample.view(np.uint32)
    for j in range(samples):
        bits[j] &= _MAGNITUDE
    floor: np.uint32 = kth(bits, rank)[0]
    return floor, min(size, int(1.25 * rank / samples * size) + 1024)


@kernel
def collect(
    values: NDArray[np.float32], begin: int, end: int, floor: np.uint32,
    candidates: NDArray[np.uint32], found: int,
) -> int:
    """Append to `candidates` the positions in [begin, end) whose magnitude is at least `floor`.

    Returns the new number of candidates. If they do not fit, returns the size of
    `candidates` plus one at once.
    """
    room = candidates.size
    whole = begin + (end - begin) // 64 * 64
    for i in range(begin, whole, 64):
        word = vector.at_least16(values, i, floor)
        for part in range(16, 64, 16):
            word |= vector.at_least16(values, i + part, floor) << np.uint64(part)
        if found + 64 <= room:
            found += vector.positions64(i, word, candidates, found)
        elif found + vector.ones(word) <= room:
            while word:
                candidates[found] = i + vector.lowest(word)
                word &= word - np.uint64(1)
                found += 1
        else:
            return room + 1
    for i in range(whole, end):
        if values[i : i + 1].view(np.uint32)[0] & _MAGNITUDE >= floor:
            if found >= room:
                return room + 1
            candidates[found] = i
            found += 1
    return found


@kernel
def candidates_by_histogram(values: NDArray[np.float32], count: int) -> NDArray[np.uint32]:
    """Return uint32[m]: positions of the `count` largest magnitudes and of others in their bin."""
    bits = values.view(np.uint32)
    counts = np.zeros(2048, np.int64)
    for i in range(bits.size):
        counts[(bits[i] & _MAGNITUDE) >> np.uint32(20)] += 1
    digit, above = _bin(counts, count)
    candidates = np.empty(above + counts[digit], np.uint32)
    collect(values, 0, values.size, np.uint64(digit << 20), candidates, 0)
    return candidates


@kernel
def _bin(counts: NDArray[np.int64], count: int) -> tuple[int, np.int64]:
    """Return (bin, above): the bin of the `count`-th largest and the number in higher bins."""
    above = np.int64(0)
    for digit in range(counts.size - 1, -1, -1):
        if above + counts[digit] >= count:
            return digit, above
        above += counts[digit]
    return 0, above


@kernel
def kth(bits: NDArray[np.uint32], count: int) -> tuple[np.uint32, int]:
    """Return (uint32, ties) of the `count`-th largest of uint32[m] `bits` below 2**31.

    `ties` is the number of values equal to it among the `count` largest. There are three
    histograms, over digits of 11, 10 and 10 bits; the last two count few values.
    """
    prefix, counts = np.uint32(0), np.zeros(2048, np.int64)
    for digit in range(3):
        shift = np.uint32(20 - 10 * digit)
        counts[:] = 0
        if digit == 0:
            for j in range(bits.size):
                counts[bits[j] >> shift] += 1
        else:
            for j in range(bits.size):
                if bits[j] >> (shift + np.uint32(10)) == prefix:
                    counts[(bits[j] >> shift) & np.uint32(1023)] += 1
        found, above = _bin(counts, count)
        count -= above
        bins = np.uint32(11 if digit == 0 else 10)
        prefix = (prefix << bins) | np.uint32(found)
    return prefix, count


@kernel
def magnitudes(values: NDArray[np.float32], candidates: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return uint32[m]: the bits of |values| at `candidates`."""
    bits = values.view(np.uint32)
    magnitudes = np.empty(candidates.size, np.uint32)
    for j in range(candidates.size):
        magnitudes[j] = bits[candidates[j]] & _MAGNITUDE
    return magnitudes
