"""Values on a support, moved together and spread out again.

Values move as 4-byte words, so that every float32 keeps its bits, NaN payloads included.
Flags are uint8, not 0 where a unit is in.
"""

import numpy as np

from fedmpi.kernels import _vector as vector
from fedmpi.kernels._jit import kernel

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@kernel
def compress(values, flags, out):
    """Move the values whose flag is set together, in order.

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
    at, whole = 0, flags.size // 64 * 64
    for i in range(0, whole, 64):
        word = vector.mask64(flags, i)
        if word == _ALL:
            out[at : at + 64] = values[i : i + 64]
            at += 64
        elif word:
            for part in range(0, 64, 16):
                at += vector.compress16(values, i + part, word >> np.uint64(part), out, at)
    for i in range(whole, flags.size):
        if flags[i]:
            out[at] = values[i]
            at += 1


@kernel
def expand(packed, flags, out):
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
    at, whole = 0, flags.size // 64 * 64
    for i in range(0, whole, 64):
        word = vector.mask64(flags, i)
        for part in range(0, 64, 16):
            at += vector.expand16(packed, at, word >> np.uint64(part), out, i + part)
    for i in range(whole, flags.size):
        if flags[i]:
            out[i] = packed[at]
            at += 1
        else:
            out[i] = 0


@kernel
def gather(values, starts, flags, out):
    """Move the units whose flag is set together, in order.

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
    at, u = 0, 0
    while u < flags.size:
        first = u
        while u < flags.size and flags[u]:
            u += 1
        begin = starts[first]
        for i in range(starts[u] - begin):
            out[at + i] = values[begin + i]
        at += starts[u] - begin
        u += 1


@kernel
def scatter(packed, starts, flags, out):
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
            for i in range(end - begin):
                out[begin + i] = packed[at + i]
            at += end - begin
        else:
            out[begin:end] = 0
