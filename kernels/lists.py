"""Sorted lists of positions as bytes: 16-bit halves, 32-bit words, varints of the gaps.

A list is uint32[m], strictly ascending. Decoders check everything that can be wrong with
a message before they return. They raise ValueError with the reason, and never read or
write outside the given arrays.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels import _varint as vector
from fedmpi.kernels._jit import kernel
from fedmpi.kernels._vector import ones, prefetch

BLOCK = 1 << 16  # positions that share their upper half
_ONE = np.uint64(1)
_AHEAD = 512  # how many positions ahead of the current one to prefetch


@kernel
def check(indices: NDArray[np.uint32], stop: int) -> None:
    """Raise ValueError unless uint32[m] `indices` ascend strictly and stay below `stop` (int64)."""
    wrong = False
    for j in range(1, indices.size):
        wrong |= indices[j] <= indices[j - 1]
    if wrong:
        raise ValueError("positions that do not ascend")
    if indices.size and np.int64(indices[-1]) >= stop:
        raise ValueError("positions after the end")


@kernel
def encode_idx16(indices: NDArray[np.uint32], stop: int, stream: NDArray[np.uint16]) -> None:
    """Write a list as a count for each block of 64 Ki, then the lower halves of its positions.

    Parameters
    ----------
    indices : uint32[m]
    stop : int64
        All positions are below it. There are B = (stop + 65535) // 65536 blocks.
    stream : uint16[2 B + m], changed in place
        Counts are 32 bits, lower half first.

    Notes
    -----
    Memory traffic: 6 bytes per position.
    """
    blocks = (stop + BLOCK - 1) // BLOCK
    begin, last = 0, 0
    for block in range(blocks):
        bound = np.int64(BLOCK) * (block + 1)
        # Most blocks are about as full as the one before, so the search rarely leaves the
        # nearest cache.
        near = min(begin + 2 * last + 64, indices.size)
        if near > begin and np.int64(indices[near - 1]) < bound:
            near = indices.size
        end = begin + int(np.searchsorted(indices[begin:near], bound))
        last = end - begin
        stream[2 * block] = (end - begin) & 0xFFFF
        stream[2 * block + 1] = (end - begin) >> 16
        begin = end
    halves = stream[2 * blocks :]
    for j in range(indices.size):
        halves[j] = np.uint16(indices[j] & np.uint32(0xFFFF))


@kernel
def decode_idx16(stream: NDArray[np.uint16], stop: int, indices: NDArray[np.uint32]) -> None:
    """Read a list that `encode_idx16` wrote.

    Parameters
    ----------
    stream : uint16[2 B + m]
    stop : int64
    indices : uint32[m], changed in place

    Raises
    ------
    ValueError
        If the stream has the wrong size, its counts do not add up to m, the positions
        do not ascend, or a position is not below `stop`.
    """
    blocks = (stop + BLOCK - 1) // BLOCK
    if stream.size != 2 * blocks + indices.size:
        raise ValueError("list of another size than its count of positions")
    halves = stream[2 * blocks :]
    begin = np.int64(0)
    for block in range(blocks):
        end = begin + np.int64(stream[2 * block]) + (np.int64(stream[2 * block + 1]) << 16)
        if end > indices.size:
            raise ValueError("blocks with more positions than the list")
        _join(halves[begin:end], np.uint32(BLOCK * block), indices[begin:end])
        begin = end
    if begin != indices.size:
        raise ValueError("blocks with fewer positions than the list")
    if indices.size and np.int64(indices[-1]) >= stop:
        raise ValueError("positions after the end")


@kernel
def _join(halves: NDArray[np.uint16], base: np.uint32, indices: NDArray[np.uint32]) -> None:
    """Write base + halves (uint16[m]) to uint32[m] `indices`; raise ValueError unless ascending."""
    wrong = False
    for j in range(1, halves.size):
        wrong |= halves[j] <= halves[j - 1]
    if wrong:
        raise ValueError("positions that do not ascend")
    for j in range(halves.size):
        indices[j] = base | np.uint32(halves[j])


@kernel
def _extra_bytes(gap: np.uint32) -> np.int32:
    """Return the number of bytes beyond the first in the varint of a gap (uint32)."""
    return (
        np.int32(gap >= np.uint32(1 << 7))
        + np.int32(gap >= np.uint32(1 << 14))
        + np.int32(gap >= np.uint32(1 << 21))
        + np.int32(gap >= np.uint32(1 << 28))
    )


@kernel
def varint_size(indices: NDArray[np.uint32]) -> np.int64:
    """Return int64: the number of bytes that `encode_varint` needs for uint32[m] `indices`."""
    if indices.size == 0:
        return np.int64(0)
    size = indices.size + np.int64(_extra_bytes(indices[0]))
    whole = 1 + (indices.size - 1) // 16 * 16
    for j in range(1, whole, 16):
        prefetch(indices, j + _AHEAD)
        size += vector.extra16(indices, j)
    for j in range(whole, indices.size):
        size += np.int64(_extra_bytes(indices[j] - indices[j - 1] - np.uint32(1)))
    return size


@kernel
def encode_varint(indices: NDArray[np.uint32], stream: NDArray[np.uint8]) -> None:
    """Write a list as its gaps minus one, 7 bits per byte, lowest bits first (LEB128).

    Parameters
    ----------
    indices : uint32[m]
    stream : uint8[varint_size(indices)], changed in place

    Notes
    -----
    The first gap counts from -1. Memory traffic: 4 bytes per position and its code.
    """
    at, j, before = 0, 0, np.int64(-1)
    while j < indices.size:
        if j and j + 32 <= indices.size and at + 64 <= stream.size:
            prefetch(indices, j + _AHEAD)
            prefetch(indices, j + _AHEAD + 16)
            wrote = vector.gaps32(indices, j, stream, at)
            if wrote:
                at += wrote
                j += 32
                before = np.int64(indices[j - 1])
                continue
        for _ in range(min(32, indices.size - j)):
            gap = np.int64(indices[j]) - before - 1
            while gap >= 128:
                stream[at] = np.uint8(gap & 127 | 128)
                gap >>= 7
                at += 1
            stream[at] = np.uint8(gap)
            at += 1
            before = np.int64(indices[j])
            j += 1


@kernel
def varint_count(stream: NDArray[np.uint8]) -> np.int64:
    """Return int64: the number of varints that end in uint8[b] `stream`."""
    total = np.int64(0)
    for i in range(stream.size):
        total += stream[i] < 128
    return total


@kernel
def decode_varint(stream: NDArray[np.uint8], stop: int, indices: NDArray[np.uint32]) -> None:
    """Read a list that `encode_varint` wrote.

    Parameters
    ----------
    stream : uint8[b]
    stop : int64
        At most 2**32.
    indices : uint32[m], changed in place

    Raises
    ------
    ValueError
        If the stream does not hold exactly m varints, a varint is longer than necessary,
        or a position is not below `stop`.
    """
    at, j, before = np.int64(0), np.int64(0), np.int64(-1)
    while j < indices.size:
        at, j, before = _decode_blocks(stream, at, before, stop, indices, j)
        for _ in range(min(64, indices.size - j)):
            taken, before = _decode_one(stream, at, before)
            if before >= stop:
                raise ValueError("positions after the end")
            indices[j] = np.uint32(before)
            at += taken
            j += 1
    if at != stream.size:
        raise ValueError("list with more bytes than its positions need")


@kernel
def _decode_blocks(
    stream: NDArray[np.uint8], at: np.int64, before: np.int64, stop: int,
    indices: NDArray[np.uint32], j: np.int64,
) -> tuple[np.int64, np.int64, np.int64]:
    """Decode blocks of 64 bytes until a block holds a varint of more than two bytes.

    Decoding starts at stream[at], indices[j] and the position `before`. Returns the new
    values of `at`, `j` and `before`.
    """
    while at + 64 <= stream.size and j + 64 <= indices.size:
        more = vector.signs64(stream, at)
        if more & (more << _ONE):
            break
        goes_on = more >> np.uint64(63)  # last varint extends past the block: left to the next one
        starts = ~(more << _ONE) & ~(goes_on << np.uint64(63))
        last = vector.block64(stream, at, starts, before, indices, j)
        if last <= before or last >= stop:
            raise ValueError("varint longer than it needs to be, or positions after the end")
        before = last
        at += np.int64(64) - np.int64(goes_on)
        j += ones(starts)
    return at, j, before


@kernel
def _decode_one(
    stream: NDArray[np.uint8], at: np.int64, before: np.int64
) -> tuple[np.int64, np.int64]:
    """Return (bytes taken, position) of the varint at stream[at] after position `before`."""
    gap, taken = np.int64(0), np.int64(0)
    while True:
        if at + taken >= stream.size:
            raise ValueError("list that ends within a varint")
        byte = np.int64(stream[at + taken])
        gap |= (byte & 127) << (7 * taken)
        taken += 1
        if byte < 128:
            break
        if taken == 5:
            raise ValueError("varint of more than 5 bytes")
    if taken > 1 and byte == 0:
        raise ValueError("varint longer than it needs to be")
    return taken, before + 1 + gap
