"""Supports as flags, bits, positions and runs.

Flags are uint8[n], not 0 for units in the support; kernels that write flags write 0 and 1.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels import _vector as vector
from fedmpi.kernels._jit import kernel

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE = np.uint64(1)
_CHUNK = 4096  # flags whose words with an edge are listed before their positions are written


@kernel
def _tail(flags: NDArray[np.uint8], i: int) -> np.uint64:
    """Return uint64: bit j says whether flags[i + j] is not 0, for the last flags (up to 63)."""
    word = np.uint64(0)
    for j in range(flags.size - i):
        if flags[i + j]:
            word |= _ONE << np.uint64(j)
    return word


@kernel
def count(flags: NDArray[np.uint8]) -> tuple[np.int64, np.int64]:
    """Return (kept, runs) of `flags`: the number of set flags, and of their runs.

    Parameters
    ----------
    flags : uint8[n]

    Returns
    -------
    int64, int64

    Notes
    -----
    Reads n bytes.
    """
    kept, runs, carry = np.int64(0), np.int64(0), np.uint64(0)
    whole = flags.size // 64 * 64
    for i in range(0, whole, 64):
        word = vector.mask64(flags, i)
        kept += vector.ones(word)
        runs += vector.ones(word & ~((word << _ONE) | carry))
        carry = word >> np.uint64(63)
    word = _tail(flags, whole)
    kept += vector.ones(word)
    runs += vector.ones(word & ~((word << _ONE) | carry))
    return kept, runs


@kernel
def to_bits(flags: NDArray[np.uint8], bits: NDArray[np.uint8]) -> None:
    """Write the bitmap of `flags`: bit j of bits[i] is flag 8 i + j.

    Parameters
    ----------
    flags : uint8[n]
    bits : uint8[(n + 7) // 8], changed in place
        Bits after the last flag become 0.

    Raises
    ------
    ValueError
        If `bits` has the wrong size.

    Notes
    -----
    Memory traffic: 9/8 byte per flag.
    """
    if bits.size != (flags.size + 7) // 8:
        raise ValueError("to_bits: bits must have one byte for each 8 flags")
    whole = flags.size // 64
    for block in range(whole):
        vector.put64(vector.mask64(flags, 64 * block), bits, 8 * block)
    word = _tail(flags, 64 * whole)
    for i in range(8 * whole, bits.size):
        bits[i] = word & np.uint64(255)
        word >>= np.uint64(8)


@kernel
def from_bits(bits: NDArray[np.uint8], flags: NDArray[np.uint8]) -> None:
    """Write the flags of a bitmap: the inverse of `to_bits`.

    Parameters
    ----------
    bits : uint8[(n + 7) // 8]
    flags : uint8[n], changed in place

    Raises
    ------
    ValueError
        If `bits` has the wrong size, or a bit after the last flag is set.

    Notes
    -----
    Memory traffic: 9/8 byte per flag.
    """
    if bits.size != (flags.size + 7) // 8:
        raise ValueError("bitmap of another size than its support")
    if flags.size % 8 and bits[-1] >> np.uint8(flags.size % 8):
        raise ValueError("bitmap with bits after its end")
    whole = flags.size // 64
    for block in range(whole):
        vector.spread64(vector.get64(bits, 8 * block), flags, 64 * block)
    for i in range(64 * whole, flags.size):
        flags[i] = (bits[i >> 3] >> np.uint8(i & 7)) & np.uint8(1)


@kernel
def positions(flags: NDArray[np.uint8], out: NDArray[np.uint32]) -> None:
    """Write the positions of the flags that are set, in order.

    Parameters
    ----------
    flags : uint8[n], n <= 2**32
    out : uint32[m], changed in place
        m is the number of flags set (`count`).

    Notes
    -----
    Memory traffic: 1 byte per flag and 4 per position.
    """
    at, whole = 0, flags.size // 64 * 64
    for i in range(0, whole, 64):
        at = _put_positions(i, vector.mask64(flags, i), out, at)
    _put_positions(whole, _tail(flags, whole), out, at)


@kernel
def bit_counts(words: NDArray[np.uint64], width: int, out: NDArray[np.int64]) -> None:
    """Count the bits that are set in bins of `width` words, into int64[bins] `out`.

    Parameters
    ----------
    words : uint64[w]
    width : int
        Number of words per bin, not negative. Words behind the last bin are not counted.
    out : int64[bins], changed in place
    """
    for b in range(out.size):
        total = np.int64(0)
        for i in range(min(b * width, words.size), min((b + 1) * width, words.size)):
            total += vector.ones(words[i])
        out[b] = total


@kernel
def bit_positions(words: NDArray[np.uint64], start: int, out: NDArray[np.uint32]) -> None:
    """Write the positions of the bits that are set, in order; the first bit is at `start`.

    Parameters
    ----------
    words : uint64[w]
        Bit j of words[i] is at start + 64 i + j.
    start : int
        Not negative. The positions of all set bits must be below 2**32.
    out : uint32[m], changed in place
        m is the number of bits set.

    Notes
    -----
    Memory traffic: 8 bytes per word and 4 per position.
    """
    at, whole = 0, words.size // 8 * 8
    places = np.empty(_CHUNK // 8 + 16, np.uint32)  # a branch would be mispredicted too often
    for begin in range(0, whole, _CHUNK // 8):
        found = 0
        for i in range(begin, min(begin + _CHUNK // 8, whole), 8):
            found += vector.positions16(i, vector.marked8(words, i), places, found)
        for j in range(found):
            at = _put_positions(start + 64 * np.int64(places[j]), words[places[j]], out, at)
    for i in range(whole, words.size):
        at = _put_positions(start + 64 * i, words[i], out, at)


@kernel
def set_bits(indices: NDArray[np.uint32], words: NDArray[np.uint64]) -> None:
    """Set the bits at `indices`, in place.

    Parameters
    ----------
    indices : uint32[m]
        All below 64 w, in any order. Nothing is checked.
    words : uint64[w], changed in place
        Bit j of words[i] is at 64 i + j.
    """
    for j in range(indices.size):
        words[indices[j] >> 6] |= _ONE << np.uint64(indices[j] & 63)


@kernel
def edges(flags: NDArray[np.uint8], out: NDArray[np.uint32]) -> None:
    """Write the edges of the runs of set flags: start, end, start, end, ...

    Parameters
    ----------
    flags : uint8[n], n < 2**32
    out : uint32[2 R], changed in place
        R is the number of runs (`count`). Run r is out[2 r] to out[2 r + 1] - 1.

    Notes
    -----
    The edges ascend strictly, so they can be encoded as a list of positions. Memory
    traffic: 1 byte per flag and 8 per run.
    """
    at, carry, whole = 0, np.uint64(0), flags.size // 64 * 64
    words, places = np.empty(_CHUNK // 64, np.uint64), np.empty(_CHUNK // 64, np.int64)
    for begin in range(0, whole, _CHUNK):
        found = np.int64(0)
        for i in range(begin, min(begin + _CHUNK, whole), 64):
            vector.prefetch(flags, i + _CHUNK)
            word = vector.mask64(flags, i)
            words[found], places[found] = word ^ ((word << _ONE) | carry), i
            found += np.int64(words[found] != 0)  # a branch would be mispredicted too often
            carry = word >> np.uint64(63)
        for j in range(found):
            at = _put_positions(places[j], words[j], out, at)
    word = _tail(flags, whole)  # zeros follow its flags, so the last run ends here
    _put_positions(whole, word ^ ((word << _ONE) | carry), out, at)


@kernel
def _put_positions(i: int, word: np.uint64, out: NDArray[np.uint32], at: int) -> int:
    """Write i + j for each bit j set in `word` to out[at], ...; return the position after them."""
    if at + 64 <= out.size:
        at += vector.positions64(i, word, out, at)
        return at
    while word:  # near the end of `out`, where 64 elements cannot be overwritten
        out[at] = i + vector.lowest(word)
        word &= word - _ONE
        at += 1
    return at


@kernel
def mark(indices: NDArray[np.uint32], flags: NDArray[np.uint8]) -> None:
    """Set the flags at `indices` to 1 and all others to 0.

    Parameters
    ----------
    indices : uint32[m]
        All below n.
    flags : uint8[n], changed in place
    """
    flags[:] = 0
    for j in range(indices.size):
        flags[indices[j]] = 1


@kernel
def fill(bounds: NDArray[np.uint32], flags: NDArray[np.uint8]) -> None:
    """Set the flags in the runs `bounds` (see `edges`) to 1 and all others to 0.

    Parameters
    ----------
    bounds : uint32[2 R]
        Ascending, none above n.
    flags : uint8[n], changed in place
    """
    flags[:] = 0
    for r in range(0, bounds.size, 2):
        start, end = np.int64(bounds[r]), np.int64(bounds[r + 1])
        if end + 64 <= flags.size:
            # Write whole vectors, so that a short run needs no loop: 64 ones, then 64 zeros
            # over the excess. Runs ascend, so no later flag has been set yet.
            for i in range(start, end, 64):
                vector.spread64(_ALL, flags, i)
            vector.spread64(np.uint64(0), flags, end)
        else:
            flags[start:end] = 1
