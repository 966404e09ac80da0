"""Steps of the varint code, which stores the gaps of a sorted list as bytes.

Each step is written twice, like the steps of `kernels._vector`.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from fedmpi.kernels._compression import AVX2, SET, bytes_of, compress_bytes8, shuffled16
from fedmpi.kernels._llvm import (
    I1,
    I8,
    I16,
    I32,
    I64,
    compress,
    constant,
    flags_from,
    frozen,
    lanes_of,
    load,
    splat,
    store,
    vectorised,
    word_from,
)

_NONE = 128  # the byte that makes a shuffle put 0
# For each byte of flags, the bytes that 16 bytes of the result come from: first those of the
# flagged lanes of 16 bits; then the first of each pair, and the second of those flagged.
_COMPRESS16 = [[2 * j + k for j in places for k in (0, 1)] + [_NONE] * (16 - 2 * len(places))
               for places in SET]
_PAIRS = [[2 * j + k for j in range(8) for k in (0, 1) if not k or j in places]
          + [_NONE] * (8 - len(places)) for places in SET]


def _emit_signs64(b: ir.IRBuilder, stream: ir.Value, i: ir.Value) -> ir.Value:
    bytes_ = load(b, stream, i, I8, 64)
    return word_from(b, b.icmp_signed("<", bytes_, constant(I8, 64, 0)))


@vectorised(_emit_signs64, types.uint64)
def signs64(stream: NDArray[np.uint8], i: int) -> np.uint64:
    """Return uint64: bit j is the highest bit of stream[i + j], for a uint8 stream."""
    return np.uint64(sum(1 << j for j in range(64) if stream[i + j] >= 128))


def _emit_extra16(b: ir.IRBuilder, indices: ir.Value, i: ir.Value) -> ir.Value:
    here = load(b, indices, i, I32, 16)
    before = load(b, indices, b.sub(i, I64(1)), I32, 16)
    gaps = b.sub(b.sub(here, before), constant(I32, 16, 1))
    words = [
        b.shl(word_from(b, b.icmp_unsigned(">=", gaps, constant(I32, 16, 1 << bits))), I64(shift))
        for bits, shift in ((7, 0), (14, 16), (21, 32), (28, 48))
    ]
    return b.ctpop(b.or_(b.or_(words[0], words[1]), b.or_(words[2], words[3])))


@vectorised(_emit_extra16)
def extra16(indices: NDArray[np.uint32], i: int) -> int:
    """Return the number of bytes that 16 varints need beyond one each.

    The varints are of the gaps before indices[i], ..., indices[i + 15], as in `gaps32`, but of
    any size.
    """
    gaps = [int(indices[j]) - int(indices[j - 1]) - 1 for j in range(i, i + 16)]
    return sum(gap >= 1 << bits for gap in gaps for bits in (7, 14, 21, 28))


def _emit_gaps32(
    b: ir.IRBuilder, indices: ir.Value, i: ir.Value, stream: ir.Value, at: ir.Value
) -> ir.Value:
    here = load(b, indices, i, I32, 32)
    before = load(b, indices, b.sub(i, I64(1)), I32, 32)
    gaps = b.sub(b.sub(here, before), constant(I32, 32, 1))
    large = b.icmp_unsigned(">=", gaps, constant(I32, 32, 1 << 14))
    gaps = b.trunc(gaps, lanes_of(I16, 32))
    high = b.lshr(gaps, constant(I16, 32, 7))
    more = b.icmp_unsigned("!=", high, constant(I16, 32, 0))
    low = b.and_(gaps, constant(I16, 32, 127))
    flag = b.select(more, constant(I16, 32, 128), constant(I16, 32, 0))
    words = b.or_(b.or_(low, flag), b.shl(high, constant(I16, 32, 8)))
    pairs, more = b.bitcast(words, lanes_of(I8, 64)), word_from(b, more)
    if AVX2:
        _put_pairs_by_8(b, pairs, more, stream, at)
    else:
        second = b.icmp_unsigned("!=", pairs, constant(I8, 64, 0))
        flags = b.or_(second, constant(I1, 64, [1, 0] * 32))
        store(b, compress(b, pairs, flags), stream, at)
    fits = b.icmp_unsigned("==", b.bitcast(large, I32), I32(0))
    return b.select(fits, b.add(b.ctpop(more), I64(32)), I64(0))


def _put_pairs_by_8(
    b: ir.IRBuilder, pairs: ir.Value, more: ir.Value, stream: ir.Value, at: ir.Value
) -> None:
    """Write the first byte of 32 pairs, and the second of those with a bit of `more`."""
    for part, byte in enumerate(bytes_of(b, more, 4)):
        store(b, shuffled16(b, pairs, 16 * part, byte, "fedmpi_pairs", _PAIRS), stream, at)
        at = b.add(at, b.add(b.ctpop(byte), I64(8)))


@vectorised(_emit_gaps32)
def gaps32(indices: NDArray[np.uint32], i: int, stream: NDArray[np.uint8], at: int) -> int:
    """Write the gaps before indices[i], ..., indices[i + 31] as varints of one or two bytes.

    A gap is indices[j] - indices[j - 1] - 1; i is at least 1. Returns the number of
    bytes, or 0 if a gap needs three. Up to 64 bytes of `stream` are overwritten.
    """
    gaps = [int(indices[j]) - int(indices[j - 1]) - 1 for j in range(i, i + 32)]
    if max(gaps) >= 1 << 14:
        return 0
    coded = []
    for gap in gaps:
        coded += [gap] if gap < 128 else [gap & 127 | 128, gap >> 7]
    stream[at : at + 64] = coded + [77] * (64 - len(coded))
    return len(coded)


def _emit_block64(
    b: ir.IRBuilder, stream: ir.Value, i: ir.Value, starts: ir.Value, before: ir.Value,
    out: ir.Value, at: ir.Value,
) -> ir.Value:
    bytes_ = load(b, stream, i, I8, 64)
    zero = constant(I8, 64, 0)
    following = b.shuffle_vector(bytes_, zero, constant(I32, 64, list(range(1, 65))))
    more = b.icmp_signed("<", bytes_, zero)
    ends = word_from(b, b.and_(more, b.icmp_unsigned("==", following, zero)))
    # Frozen, so that LLVM does not move its 64 flags past the branch, one register for each.
    wasted = frozen(b, b.and_(ends, starts))
    low, high = b.and_(bytes_, constant(I8, 64, 127)), b.select(more, following, zero)
    given, before = (low, high, starts), b.trunc(before, I32)
    if AVX2:
        large = b.icmp_unsigned(">=", high, constant(I8, 64, 64))
        slot = cgutils.alloca_once(b, I32)
        with b.if_else(b.icmp_unsigned("==", b.bitcast(large, I64), I64(0))) as (small, others):
            with small:
                b.store(_put_small_by_8(b, *given, before, out, at), slot)
            with others:
                b.store(_put_by_8(b, *given, before, out, at), slot)
        last = b.load(slot)
    else:
        last = _put_by_16(b, *given, before, out, at)
    return b.select(b.icmp_unsigned("==", wasted, I64(0)), b.zext(last, I64), I64(-1))


def _put_by_16(
    b: ir.IRBuilder, low: ir.Value, high: ir.Value, starts: ir.Value, total: ir.Value,
    out: ir.Value, at: ir.Value,
) -> ir.Value:
    """Write the positions of a block, all of whose gaps are compressed first; return the last."""
    flags = flags_from(b, starts, 64)
    low, high = compress(b, low, flags), compress(b, high, flags)
    for part in range(0, 64, 16):
        lanes = constant(I32, 16, list(range(part, part + 16)))
        gaps = [b.shuffle_vector(bytes_, bytes_, lanes) for bytes_ in (low, high)]
        sums, last = _running_sums(b, *gaps)
        store(b, b.add(sums, splat(b, total)), out, b.add(at, I64(part)))
        total = b.add(total, last)
    # A lane without a gap is 0, so the sums count it as 0 + 1.
    return b.sub(total, b.sub(I32(64), b.trunc(b.ctpop(starts), I32)))


def _put_by_8(
    b: ir.IRBuilder, low: ir.Value, high: ir.Value, starts: ir.Value, total: ir.Value,
    out: ir.Value, at: ir.Value,
) -> ir.Value:
    """Write the positions of a block, those that begin in 8 bytes at a time; return the last."""
    for part, byte in enumerate(bytes_of(b, starts, 8)):
        gaps = [compress_bytes8(b, bytes_, part, byte) for bytes_ in (low, high)]
        sums, last = _running_sums(b, *gaps)
        store(b, b.add(sums, splat(b, total, 8)), out, at)
        count = b.ctpop(byte)
        at = b.add(at, count)
        empty = b.sub(I32(8), b.trunc(count, I32))  # lanes that the sums count as 0 + 1
        total = b.add(total, b.sub(last, empty))
    return total


def _put_small_by_8(
    b: ir.IRBuilder, low: ir.Value, high: ir.Value, starts: ir.Value, total: ir.Value,
    out: ir.Value, at: ir.Value,
) -> ir.Value:
    """Do the same for gaps below 8192: those that begin in 8 bytes add up to fewer than 2**16.

    At most four of them have two bytes.
    """
    kind, zero = lanes_of(I16, 16), constant(I16, 16, 0)
    for part in range(0, 64, 16):
        lanes = constant(I32, 16, list(range(part, part + 16)))
        low16, high16 = (b.zext(b.shuffle_vector(v, v, lanes), kind) for v in (low, high))
        gaps = b.or_(low16, b.shl(high16, constant(I16, 16, 7)))
        word = b.lshr(starts, I64(part))
        gaps = b.add(gaps, constant(I16, 16, 1))
        sums = b.select(flags_from(b, word, 16), gaps, zero)
        for step in (1, 2, 4):
            shift = [lane - step if lane % 8 >= step else 16 for lane in range(16)]
            sums = b.add(sums, b.shuffle_vector(sums, zero, constant(I32, 16, shift)))
        for half, byte in enumerate(bytes_of(b, word, 2)):
            bytes_ = b.bitcast(sums, lanes_of(I8, 32))
            found = shuffled16(b, bytes_, 16 * half, byte, "fedmpi_compress8x16", _COMPRESS16)
            wide = b.zext(b.bitcast(found, lanes_of(I16, 8)), lanes_of(I32, 8))
            store(b, b.add(wide, splat(b, total, 8)), out, at)
            at = b.add(at, b.ctpop(byte))
            total = b.add(total, b.zext(b.extract_element(sums, I32(8 * half + 7)), I32))
    return total


def _running_sums(b: ir.IRBuilder, low: ir.Value, high: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return the running sums of (gap + 1) over 8 or 16 lanes, and the last of them."""
    lanes = low.type.count
    kind, zero = lanes_of(I32, lanes), constant(I32, lanes, 0)
    gaps = b.or_(b.zext(low, kind), b.shl(b.zext(high, kind), constant(I32, lanes, 7)))
    sums, step = b.add(gaps, constant(I32, lanes, 1)), 1
    while step < lanes:
        shift = [lanes + lane if lane < step else lane - step for lane in range(lanes)]
        sums = b.add(sums, b.shuffle_vector(sums, zero, constant(I32, lanes, shift)))
        step *= 2
    return sums, b.extract_element(sums, I32(lanes - 1))


@vectorised(_emit_block64)
def block64(
    stream: NDArray[np.uint8], i: int, starts: np.uint64, before: int, out: NDArray[np.uint32],
    at: int,
) -> int:
    """Decode varints of one or two bytes from 64 bytes; bit j of `starts` marks a first byte.

    The gaps lead from `before` to positions, which are written to out[at], ... (uint32, modulo
    2**32). Elements up to out[at + 63] may be overwritten. Returns the last position, or -1 if
    a varint has a second byte of 0. No varint may extend beyond the 64 bytes.
    """
    found: list[int] = []
    for j in range(64):
        if int(starts) >> j & 1:
            low = int(stream[i + j])
            high = int(stream[i + j + 1]) if low >= 128 else 0
            if low >= 128 and high == 0:
                return -1
            before = int(before) + (low & 127 | high << 7) + 1 & 0xFFFFFFFF
            found.append(before)
    out[at : at + 64] = found + [77] * (64 - len(found))
    return before
