"""Packing of the values on a support, and unpacking.

Values are moved as 4-byte words, so that every float32 keeps its bits, NaN payloads included.
Flags are uint8 and not 0 for units in the support.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels import _vector as vector
from fedmpi.kernels._jit import kernel

_AHEAD = 512  # how many words ahead of the current one to prefetch
_CHUNK = 2048  # flags whose positions stay in the nearest cache


@kernel
def compress(values: NDArray[np.uint32], flags: NDArray[np.uint8], out: NDArray[np.uint32]) -> None:
    """Pack the values whose flag is set, in order.

    Parameters
    ----------
    values : uint32[n]
    flags : uint8[n]
    out : uint32[m], changed in place
        m is the number of flags set.

    Notes
    -----
    Memory traffic: 5 bytes per coordinate and 4 per value kept.
    """
    whole = flags.size // 64 * 64
    if 8 * out.size < flags.size:
        at = _compress_few(values, flags[:whole], out)
    else:
        at = 0
        for i in range(0, whole, 64):
            word = vector.mask64(flags, i)
            if at + 64 <= out.size:
                for part in range(0, 64, 16):
                    at += vector.compress16(values, i + part, word >> np.uint64(part), out, at)
            else:
                while word:  # at most 63 times in all
                    out[at] = values[i + vector.lowest(word)]
                    word &= word - np.uint64(1)
                    at += 1
    for i in range(whole, flags.size):
        if flags[i]:
            out[at] = values[i]
            at += 1


@kernel
def _compress_few(
    values: NDArray[np.uint32], flags: NDArray[np.uint8], out: NDArray[np.uint32]
) -> int:
    """Do `compress` for few set flags, by listing their positions first; return their number."""
    places, at = np.empty(_CHUNK + 64, np.uint32), 0
    for begin in range(0, flags.size, _CHUNK):
        found = 0
        for i in range(begin, min(begin + _CHUNK, flags.size), 64):
            found += vector.positions64(i, vector.mask64(flags, i), places, found)
        for j in range(found):
            out[at + j] = values[places[j]]
        at += found
    return at


@kernel
def expand(packed: NDArray[np.uint32], flags: NDArray[np.uint8], out: NDArray[np.uint32]) -> None:
    """Write the packed values where a flag is set and 0 elsewhere: the inverse of `compress`.

    Parameters
    ----------
    packed : uint32[m]
        m is the number of flags set.
    flags : uint8[n]
    out : uint32[n], changed in place

    Notes
    -----
    Memory traffic: 5 bytes per coordinate and 4 per packed value.
    """
    whole = flags.size // 64 * 64
    if 16 * packed.size < flags.size:
        at = _expand_few(packed, flags[:whole], out)
    else:
        at = _expand_many(packed, flags[:whole], out)
    for i in range(whole, flags.size):
        if flags[i]:
            out[i] = packed[at]
            at += 1
        else:
            out[i] = 0


@kernel
def _expand_few(
    packed: NDArray[np.uint32], flags: NDArray[np.uint8], out: NDArray[np.uint32]
) -> int:
    """Do `expand` for few set flags, by listing their positions first; return their number."""
    places, at = np.empty(_CHUNK + 64, np.uint32), 0
    for begin in range(0, flags.size, _CHUNK):
        found = 0
        for i in range(begin, min(begin + _CHUNK, flags.size), 64):
            for part in range(0, 64, 16):
                vector.clear16(out, i + part)
            found += vector.positions64(i, vector.mask64(flags, i), places, found)
        for j in range(found):
            out[places[j]] = packed[at + j]
        at += found
    return at


@kernel
def _expand_many(
    packed: NDArray[np.uint32], flags: NDArray[np.uint8], out: NDArray[np.uint32]
) -> int:
    """Do `expand` for 16 flags at a time; return the number of flags that are set."""
    at, rest = 0, 0
    while rest < flags.size and at + 64 <= packed.size:
        word = vector.mask64(flags, rest)
        for part in range(0, 64, 16):
            # The stride through `packed` varies, so the processor does not prefetch it by itself.
            vector.prefetch(packed, at + _AHEAD)
            at += vector.expand16(packed, at, word >> np.uint64(part), out, rest + part)
        rest += 64
    for i in range(rest, flags.size, 64):
        word = vector.mask64(flags, i)
        for part in range(0, 64, 16):
            vector.clear16(out, i + part)
        while word:  # at most 63 times in all
            out[i + vector.lowest(word)] = packed[at]
            word &= word - np.uint64(1)
            at += 1
    return at


@kernel
def gather(
    values: NDArray[np.uint32], starts: NDArray[np.int64], flags: NDArray[np.uint8],
    out: NDArray[np.uint32],
) -> None:
    """Pack the units whose flag is set, in order.

    Parameters
    ----------
    values : uint32[P]
    starts : int64[U+1]
        Unit u is the block of coordinates from starts[u] to starts[u+1].
    flags : uint8[U]
    out : uint32[m], changed in place
        m is the number of coordinates in these units.

    Notes
    -----
    Neighbouring units move as one block. Memory traffic: 8 bytes per coordinate kept.
    """
    at = 0
    first, end = _next_run(flags, 0)
    while first < flags.size:
        then, then_end = _next_run(flags, end)
        for i in range(starts[then], min(starts[then] + _AHEAD, starts[-1]), 16):
            vector.prefetch(values, i)
        at = _copy(values, starts[first], starts[end], out, at)
        first, end = then, then_end


@kernel
def _next_run(flags: NDArray[np.uint8], u: int) -> tuple[int, int]:
    """Return (first, end) of the next run of set flags from u on; both are the size if none is."""
    while u < flags.size and not flags[u]:
        u += 1
    first = u
    while u < flags.size and flags[u]:
        u += 1
    return first, u


@kernel
def scatter(
    packed: NDArray[np.uint32], starts: NDArray[np.int64], flags: NDArray[np.uint8],
    out: NDArray[np.uint32],
) -> None:
    """Write packed units where their flag is set and 0 elsewhere: the inverse of `gather`.

    Parameters
    ----------
    packed : uint32[m]
        m is the number of coordinates in the units with a flag.
    starts : int64[U+1]
    flags : uint8[U]
    out : uint32[P], changed in place

    Notes
    -----
    Memory traffic: 4 bytes per coordinate and 4 per packed one.
    """
    at, u = 0, 0
    while u < flags.size:
        first, kept = u, flags[u] != 0
        while u < flags.size and (flags[u] != 0) == kept:
            u += 1
        begin, end = starts[first], starts[u]
        if kept:
            _copy(packed, at, at + end - begin, out, begin)
            at += end - begin
        elif end + 16 <= out.size:
            for i in range(begin, end, 16):
                vector.prefetch(out, i + _AHEAD)
                vector.clear16(out, i)
        else:
            out[begin:end] = 0


@kernel
def put(
    packed: NDArray[np.uint32], starts: NDArray[np.int64], flags: NDArray[np.uint8],
    out: NDArray[np.uint32],
) -> None:
    """Write packed units where their flag is set, and leave the others as they are.

    Parameters
    ----------
    packed : uint32[m]
        m is the number of coordinates in the units with a flag.
    starts : int64[U+1]
    flags : uint8[U]
    out : uint32[P], changed in place

    Notes
    -----
    Neighbouring units move as one block. Memory traffic: 8 bytes per packed coordinate.
    """
    at = 0
    first, end = _next_run(flags, 0)
    while first < flags.size:
        begin, stop = starts[first], starts[end]
        for i in range(stop - begin):
            out[begin + i] = packed[at + i]
        at += stop - begin
        first, end = _next_run(flags, end)


@kernel
def _copy(
    source: NDArray[np.uint32], begin: int, end: int, target: NDArray[np.uint32], at: int
) -> int:
    """Copy source[begin:end] to target[at:]; return the position after the last copied word.

    Up to 15 words of `target` from that position on may be overwritten.
    """
    size = end - begin
    if end + 16 <= source.size and at + size + 16 <= target.size:
        for i in range(0, size, 16):  # whole vectors: rows are too short to be worth a memcpy
            vector.prefetch(target, at + i + _AHEAD)
            vector.move16(source, begin + i, target, at + i)
    else:
        for i in range(size):
            target[at + i] = source[begin + i]
    return at + size
