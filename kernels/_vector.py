"""Steps of 16 or 64 lanes: masks, positions, compression, expansion.

Each step is written twice. The Python body defines it, and runs when the compiler is off
(NUMBA_DISABLE_JIT=1); compiled kernels run the vector operations above the body instead.
Arrays are one-dimensional and contiguous. Nothing is bounds-checked: the caller makes sure
that every lane is inside the array.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from fedmpi.kernels._compression import emit_compress16, emit_expand16
from fedmpi.kernels._llvm import (
    I1,
    I8,
    I32,
    I64,
    call,
    compress,
    constant,
    flags_from,
    lanes_of,
    load,
    splat,
    store,
    store_places,
    vectorised,
    word_from,
)
from fedmpi.kernels._tile import WIDTH

_WIDE = WIDTH == 16  # other processors cannot compress vectors, and their masked stores are slow


def _emit_mask64(b: ir.IRBuilder, flags: ir.Value, i: ir.Value) -> ir.Value:
    bytes_ = load(b, flags, i, I8, 64)
    return word_from(b, b.icmp_unsigned("!=", bytes_, constant(I8, 64, 0)))


@vectorised(_emit_mask64, types.uint64)
def mask64(flags: NDArray[np.uint8], i: int) -> np.uint64:
    """Return uint64: bit j says whether flags[i + j] is not 0, for uint8 flags."""
    return np.uint64(sum(1 << j for j in range(64) if flags[i + j]))


@vectorised(lambda b, word: b.ctpop(word))
def ones(word: np.uint64) -> int:
    """Return int64: the number of ones in a uint64."""
    return int(word).bit_count()


@vectorised(lambda b, word: b.cttz(word, I1(0)))
def lowest(word: np.uint64) -> int:
    """Return int64: the index of the lowest bit that is set in a uint64, or 64 if none is."""
    return (int(word) & -int(word)).bit_length() - 1 if word else 64


def _emit_spread64(b: ir.IRBuilder, word: ir.Value, flags: ir.Value, i: ir.Value) -> ir.Value:
    store(b, b.zext(flags_from(b, word, 64), lanes_of(I8, 64)), flags, i)
    return ir.Constant(I64, 0)


@vectorised(_emit_spread64)
def spread64(word: np.uint64, flags: NDArray[np.uint8], i: int) -> int:
    """Set flags[i + j] to bit j of `word`, for uint8 flags and 64 bits."""
    for j in range(64):
        flags[i + j] = (int(word) >> j) & 1
    return 0


def _emit_at_least16(b: ir.IRBuilder, values: ir.Value, i: ir.Value, floor: ir.Value) -> ir.Value:
    bits = b.and_(load(b, values, i, I32, 16), constant(I32, 16, 0x7FFFFFFF))
    return word_from(b, b.icmp_unsigned(">=", bits, splat(b, b.trunc(floor, I32))))


@vectorised(_emit_at_least16, types.uint64)
def at_least16(values: NDArray[Any], i: int, floor: np.uint64) -> np.uint64:
    """Return uint64: bit j says whether the bits of |values[i + j]| are `floor` or more.

    `values` has elements of 4 bytes, of which 16 are read.
    """
    bits = values[i : i + 16].view(np.uint32) & np.uint32(0x7FFFFFFF)
    return np.uint64(sum(1 << j for j in range(16) if bits[j] >= floor))


def _filled_up(chosen: list[int], size: int) -> list[int]:
    """Return `size` numbers: the chosen ones, then fillers where elements may be overwritten."""
    return chosen + [77] * (size - len(chosen))


@vectorised(emit_compress16)
def compress16(values: NDArray[Any], i: int, word: np.uint64, out: NDArray[Any], at: int) -> int:
    """Copy values[i + j] for each bit j < 16 set in `word` to out[at], ...; return their number.

    `values` and `out` have elements of 4 bytes. All of out[at] to out[at + 15] may be overwritten.
    """
    chosen = [i + j for j in range(16) if int(word) >> j & 1]
    out[at : at + 16] = _filled_up(values[chosen].tolist(), 16)
    return len(chosen)


def _emit_positions16(
    b: ir.IRBuilder, start: ir.Value, word: ir.Value, out: ir.Value, at: ir.Value
) -> ir.Value:
    word = b.and_(word, I64(0xFFFF))
    if not _WIDE:
        return store_places(b, start, word, 16, out, at)
    positions = b.add(splat(b, b.trunc(start, I32)), constant(I32, 16, list(range(16))))
    store(b, compress(b, positions, flags_from(b, word, 16)), out, at)
    return b.ctpop(word)


@vectorised(_emit_positions16)
def positions16(start: int, word: np.uint64, out: NDArray[np.uint32], at: int) -> int:
    """Write start + j for each bit j < 16 set in `word` to out[at], ...; return their number.

    `out` is uint32. All of out[at] to out[at + 15] may be overwritten.
    """
    chosen = [start + j for j in range(16) if int(word) >> j & 1]
    out[at : at + 16] = _filled_up(chosen, 16)
    return len(chosen)


@vectorised(emit_expand16)
def expand16(packed: NDArray[Any], at: int, word: np.uint64, out: NDArray[Any], i: int) -> int:
    """Set out[i + j] to the next of packed[at], ... where bit j of `word` is set, else 0; j < 16.

    Returns the number of elements taken from `packed`. `packed` and `out` are uint32. All of
    packed[at] to packed[at + 15] may be read.
    """
    bits = [int(word) >> j & 1 for j in range(16)]
    taken = iter(packed[[at + j for j in range(16)]])
    out[i : i + 16] = [next(taken) if bit else 0 for bit in bits]
    return sum(bits)


def _emit_positions64(
    b: ir.IRBuilder, start: ir.Value, word: ir.Value, out: ir.Value, at: ir.Value
) -> ir.Value:
    if not _WIDE:
        return store_places(b, start, word, 64, out, at)
    flags = flags_from(b, word, 64)
    places = compress(b, constant(I8, 64, list(range(64))), flags)
    starts, count = splat(b, b.trunc(start, I32)), b.ctpop(word)

    def write(part: int) -> None:
        lanes = constant(I32, 16, list(range(part, part + 16)))
        near = b.zext(b.shuffle_vector(places, places, lanes), lanes_of(I32, 16))
        store(b, b.add(starts, near), out, b.add(at, I64(part)))

    write(0)
    with b.if_then(b.icmp_unsigned(">", count, I64(16))):
        for part in (16, 32, 48):
            write(part)
    return count


@vectorised(_emit_positions64)
def positions64(start: int, word: np.uint64, out: NDArray[np.uint32], at: int) -> int:
    """Write start + j for each bit j set in `word` to out[at], ...; return their number.

    `out` is uint32. All of out[at] to out[at + 63] may be overwritten.
    """
    chosen = [start + j for j in range(64) if int(word) >> j & 1]
    out[at : at + 64] = _filled_up(chosen, 64)
    return len(chosen)


def _emit_put64(b: ir.IRBuilder, word: ir.Value, stream: ir.Value, i: ir.Value) -> ir.Value:
    store(b, word, stream, i)
    return ir.Constant(I64, 0)


@vectorised(_emit_put64)
def put64(word: np.uint64, stream: NDArray[np.uint8], i: int) -> int:
    """Write the 8 bytes of `word` to stream[i], ..., lowest first, for a uint8 stream."""
    stream[i : i + 8] = [int(word) >> shift & 255 for shift in range(0, 64, 8)]
    return 0


def _emit_get64(b: ir.IRBuilder, stream: ir.Value, i: ir.Value) -> ir.Value:
    loaded = b.load(b.bitcast(b.gep(stream, [i]), I64.as_pointer()))
    loaded.align = 1
    return loaded


@vectorised(_emit_get64, types.uint64)
def get64(stream: NDArray[np.uint8], i: int) -> np.uint64:
    """Return the 8 bytes at stream[i], lowest first, as uint64, for a uint8 stream."""
    return np.uint64(sum(int(stream[i + j]) << 8 * j for j in range(8)))


def _emit_move16(
    b: ir.IRBuilder, source: ir.Value, i: ir.Value, target: ir.Value, at: ir.Value
) -> ir.Value:
    store(b, load(b, source, i, I32, 16), target, at)
    return ir.Constant(I64, 0)


@vectorised(_emit_move16)
def move16(source: NDArray[Any], i: int, target: NDArray[Any], at: int) -> int:
    """Copy source[i : i + 16] to target[at : at + 16]; their elements have 4 bytes."""
    target[at : at + 16] = source[i : i + 16]
    return 0


def _emit_clear16(b: ir.IRBuilder, target: ir.Value, at: ir.Value) -> ir.Value:
    store(b, constant(I32, 16, 0), target, at)
    return ir.Constant(I64, 0)


@vectorised(_emit_clear16)
def clear16(target: NDArray[Any], at: int) -> int:
    """Set target[at : at + 16], elements of 4 bytes, to 0."""
    target[at : at + 16] = [0] * 16  # fails if there is no room
    return 0


def _emit_marked8(b: ir.IRBuilder, words: ir.Value, i: ir.Value) -> ir.Value:
    return word_from(b, b.icmp_unsigned("!=", load(b, words, i, I64, 8), constant(I64, 8, 0)))


@vectorised(_emit_marked8, types.uint64)
def marked8(words: NDArray[np.uint64], i: int) -> np.uint64:
    """Return uint64: bit j says whether words[i + j] is not 0, for 8 words of 64 bits."""
    return np.uint64(sum(1 << j for j in range(8) if words[i + j]))


def _emit_add8(b: ir.IRBuilder, total: ir.Value, terms: ir.Value, i: ir.Value) -> ir.Value:
    width = total.type.pointee
    add = b.add if isinstance(width, ir.IntType) else b.fadd
    store(b, add(load(b, total, i, width, 8), load(b, terms, i, width, 8)), total, i)
    return ir.Constant(I64, 0)


@vectorised(_emit_add8)
def add8(total: NDArray[Any], terms: NDArray[Any], i: int) -> int:
    """Add terms[i : i + 8] to total[i : i + 8]; both arrays have the same dtype."""
    total[i : i + 8] = [total[j] + terms[j] for j in range(i, i + 8)]  # fails if there is no room
    return 0


def _emit_clear8(b: ir.IRBuilder, target: ir.Value, i: ir.Value) -> ir.Value:
    store(b, ir.Constant(lanes_of(target.type.pointee, 8), None), target, i)
    return ir.Constant(I64, 0)


@vectorised(_emit_clear8)
def clear8(target: NDArray[Any], i: int) -> int:
    """Set target[i : i + 8] to 0, for any dtype."""
    target[i : i + 8] = [0] * 8  # fails if there is no room
    return 0


def _emit_prefetch(b: ir.IRBuilder, source: ir.Value, i: ir.Value) -> ir.Value:
    at = b.bitcast(b.gep(source, [i]), I8.as_pointer())
    call(b, "llvm.prefetch.p0", ir.VoidType(), [at, I32(0), I32(3), I32(1)])
    return ir.Constant(I64, 0)


@vectorised(_emit_prefetch)
def prefetch(source: NDArray[Any], i: int) -> int:
    """Prefetch the cache line of source[i]: a hint, never an access, so any `i` is allowed."""
    return 0
