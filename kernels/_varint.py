"""Vector steps of the varint code: gaps of a sorted list as bytes, and back.

Written twice each, like those of `kernels._vector`.
"""

import numpy as np
from llvmlite import ir
from numba import types

from fedmpi.kernels._vector import (
    _I1,
    _I8,
    _I16,
    _I32,
    _I64,
    _bits,
    _compress,
    _constant,
    _load,
    _store,
    _type,
    _vector,
    _word,
)


def _emit_signs64(b, stream, i):
    bytes_ = _load(b, stream, i, _I8, 64)
    return _word(b, b.icmp_signed("<", bytes_, _constant(_I8, 64, 0)))


@_vector(_emit_signs64, types.uint64)
def signs64(stream, i):
    """Return uint64: bit j is the highest bit of stream[i + j], for a uint8 stream."""
    return np.uint64(sum(1 << j for j in range(64) if stream[i + j] >= 128))


def _emit_extra16(b, indices, i):
    here = _load(b, indices, i, _I32, 16)
    before = _load(b, indices, b.sub(i, _I64(1)), _I32, 16)
    gaps = b.sub(b.sub(here, before), _constant(_I32, 16, 1))
    words = [
        b.shl(_word(b, b.icmp_unsigned(">=", gaps, _constant(_I32, 16, 1 << bits))), _I64(shift))
        for bits, shift in ((7, 0), (14, 16), (21, 32), (28, 48))
    ]
    return b.ctpop(b.or_(b.or_(words[0], words[1]), b.or_(words[2], words[3])))


@_vector(_emit_extra16)
def extra16(indices, i):
    """Return how many bytes after their first the varints before indices[i], ..., [i + 15] have.

    See `gaps32`; here a gap may have any size.
    """
    gaps = [int(indices[j]) - int(indices[j - 1]) - 1 for j in range(i, i + 16)]
    return sum((gap >= 1 << 7) + (gap >= 1 << 14) + (gap >= 1 << 21) + (gap >= 1 << 28) for gap in gaps)


def _emit_gaps32(b, indices, i, stream, at):
    here = _load(b, indices, i, _I32, 32)
    before = _load(b, indices, b.sub(i, _I64(1)), _I32, 32)
    gaps = b.sub(b.sub(here, before), _constant(_I32, 32, 1))
    large = b.icmp_unsigned(">=", gaps, _constant(_I32, 32, 1 << 14))
    gaps = b.trunc(gaps, _type(_I16, 32))
    high = b.lshr(gaps, _constant(_I16, 32, 7))
    more = b.icmp_unsigned("!=", high, _constant(_I16, 32, 0))
    low = b.and_(gaps, _constant(_I16, 32, 127))
    flag = b.select(more, _constant(_I16, 32, 128), _constant(_I16, 32, 0))
    words = b.or_(b.or_(low, flag), b.shl(high, _constant(_I16, 32, 8)))
    bytes_ = b.bitcast(words, _type(_I8, 64))
    flags = b.or_(
        b.icmp_unsigned("!=", bytes_, _constant(_I8, 64, 0)), _constant(_I1, 64, [1, 0] * 32)
    )
    _store(b, _compress(b, bytes_, flags), stream, at)
    fits = b.icmp_unsigned("==", b.bitcast(large, _I32), _I32(0))
    return b.select(fits, b.ctpop(_word(b, flags)), _I64(0))


@_vector(_emit_gaps32)
def gaps32(indices, i, stream, at):
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
    stream[at : at + len(coded)] = coded
    return len(coded)


def _emit_block64(b, stream, i, starts, before, out, at):
    bytes_ = _load(b, stream, i, _I8, 64)
    zero = _constant(_I8, 64, 0)
    following = b.shuffle_vector(bytes_, zero, _constant(_I32, 64, list(range(1, 65))))
    more = b.icmp_signed("<", bytes_, zero)
    flags = _bits(b, starts, 64)
    wasted = b.and_(b.and_(more, flags), b.icmp_unsigned("==", following, zero))
    low = _compress(b, b.and_(bytes_, _constant(_I8, 64, 127)), flags)
    high = _compress(b, b.select(more, following, zero), flags)
    total = b.trunc(before, _I32)
    for part in range(0, 64, 16):
        sums, last = _running_sums(b, low, high, part)
        total_lanes = b.insert_element(_constant(_I32, 16, 0), total, _I32(0))
        total_lanes = b.shuffle_vector(total_lanes, total_lanes, _constant(_I32, 16, 0))
        _store(b, b.add(sums, total_lanes), out, b.add(at, _I64(part)))
        total = b.add(total, last)
    clean = b.icmp_unsigned("==", b.bitcast(wasted, _I64), _I64(0))
    # A lane without a gap is 0, and counted as 0 + 1.
    last = b.sub(b.zext(total, _I64), b.sub(_I64(64), b.ctpop(starts)))
    return b.select(clean, last, _I64(-1))


def _running_sums(b, low, high, part):
    """Return the running sums of 16 gaps + 1, from lane `part`, and the last of them."""
    kind = _type(_I32, 16)
    lanes = _constant(_I32, 16, list(range(part, part + 16)))
    low = b.zext(b.shuffle_vector(low, low, lanes), kind)
    high = b.zext(b.shuffle_vector(high, high, lanes), kind)
    sums = b.add(b.or_(low, b.shl(high, _constant(_I32, 16, 7))), _constant(_I32, 16, 1))
    zero = _constant(_I32, 16, 0)
    for step in (1, 2, 4, 8):
        shift = [16 + lane if lane < step else lane - step for lane in range(16)]
        sums = b.add(sums, b.shuffle_vector(sums, zero, _constant(_I32, 16, shift)))
    return sums, b.extract_element(sums, _I32(15))


@_vector(_emit_block64)
def block64(stream, i, starts, before, out, at):
    """Decode the varints of one or two bytes that start at the bits `starts` of 64 bytes.

    The positions after `before` that their gaps lead to go to out[at], ... (uint32, modulo
    2**32); up to out[at + 63] may be overwritten. Returns the last position, or -1 if one has
    a second byte of 0. None may need a byte after the 64.
    """
    count = 0
    for j in range(64):
        if int(starts) >> j & 1:
            low = int(stream[i + j])
            high = int(stream[i + j + 1]) if low >= 128 else 0
            if low >= 128 and high == 0:
                return -1
            before = int(before) + (low & 127 | high << 7) + 1 & 0xFFFFFFFF
            out[at + count] = before
            count += 1
    return before
