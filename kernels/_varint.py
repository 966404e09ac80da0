"""Steps of the varint code, which stores the gaps of a sorted list as bytes.

Each step is written twice, like the steps of `kernels._vector`.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from fedmpi.kernels._compression import AVX2, bytes_of, compress_bytes8, store_compressed64
from fedmpi.kernels._llvm import (
    I1,
    I8,
    I16,
    I32,
    I64,
    compress,
    constant,
    flags_from,
    lanes_of,
    load,
    splat,
    store,
    vectorised,
    word_from,
)


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
    bytes_ = b.bitcast(words, lanes_of(I8, 64))
    flags = b.or_(b.icmp_unsigned("!=", bytes_, constant(I8, 64, 0)), constant(I1, 64, [1, 0] * 32))
    store_compressed64(b, bytes_, flags, stream, at)
    fits = b.icmp_unsigned("==", b.bitcast(large, I32), I32(0))
    return b.select(fits, b.ctpop(word_from(b, flags)), I64(0))


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
    flags = flags_from(b, starts, 64)
    wasted = b.and_(b.and_(more, flags), b.icmp_unsigned("==", following, zero))
    low, high = b.and_(bytes_, constant(I8, 64, 127)), b.select(more, following, zero)
    put = _put_by_8 if AVX2 else _put_by_16
    last = put(b, low, high, starts, b.trunc(before, I32), out, at)
    clean = b.icmp_unsigned("==", b.bitcast(wasted, I64), I64(0))
    return b.select(clean, b.zext(last, I64), I64(-1))


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
