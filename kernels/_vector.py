"""Steps of 16 or 64 lanes that loops cannot say: masks, compression, expansion.

Each function is written twice. Its Python body says what it does, and runs when the
compiler is off (NUMBA_DISABLE_JIT=1); compiled kernels get a few LLVM vector operations
instead, which become single instructions where the processor has them (AVX-512) and
correct code everywhere else. The vectors are those of LLVM's language reference:
`llvm.experimental.vector.compress`, `llvm.masked.expandload`, `llvm.masked.store`.

Arrays are one-dimensional and contiguous. Nothing is checked here: the caller makes sure
that every lane it names lies in the array.
"""

from inspect import Parameter, signature

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

_I1, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))


def _vector(emit, result=types.int64):
    """Return a decorator: compiled kernels run the vector code of `emit` in place of the body.

    emit(builder, *operands) returns the result of type `result`; arrays come to it as
    pointers to their data, integers as 64 bits.
    """

    def decorate(body):
        if numba.config.DISABLE_JIT:
            return body

        def typed(typing, *given):
            wide = (types.int64, types.uint64)
            kinds = [
                kind if isinstance(kind, types.Array) else wide[not kind.signed] for kind in given
            ]

            def code(context, builder, call, operands):
                operands = [
                    make_array(kind)(context, builder, operand).data
                    if isinstance(kind, types.Array)
                    else operand
                    for kind, operand in zip(kinds, operands)
                ]
                value = emit(builder, *operands)
                return impl_ret_untracked(context, builder, call.return_type, value)

            return result(*kinds), code

        typed.__name__ = body.__name__
        typed.__signature__ = _with_first(body, "typing")
        return intrinsic(typed)

    return decorate


def _with_first(body, name):
    """Return the signature of `body` with one more argument before the others."""
    given = signature(body)
    first = Parameter(name, Parameter.POSITIONAL_OR_KEYWORD)
    return given.replace(parameters=[first, *given.parameters.values()])


def _type(width, lanes):
    return ir.VectorType(width, lanes)


def _constant(width, lanes, values):
    """Return the vector constant of `lanes` times one value, or of a list of values."""
    values = values if isinstance(values, list) else [values] * lanes
    return ir.Constant(_type(width, lanes), values)


def _load(b, array, i, width, lanes):
    """Return lanes i, i + 1, ... of `array`."""
    at = b.bitcast(b.gep(array, [i]), _type(width, lanes).as_pointer())
    loaded = b.load(at)
    loaded.align = 1
    return loaded


def _store(b, vector, array, i):
    """Write `vector` to array[i], array[i + 1], ..."""
    at = b.bitcast(b.gep(array, [i]), vector.type.as_pointer())
    b.store(vector, at).align = 1


def _bits(b, word, lanes):
    """Return the lowest `lanes` bits of the 64-bit `word` as a vector of flags."""
    if lanes < 64:
        word = b.trunc(word, ir.IntType(lanes))
    return b.bitcast(word, _type(_I1, lanes))


def _word(b, flags):
    """Return a vector of flags as the low bits of a 64-bit word."""
    word = b.bitcast(flags, ir.IntType(flags.type.count))
    return word if flags.type.count == 64 else b.zext(word, _I64)


def _call(b, name, result, arguments):
    """Call the LLVM function `name`."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    function = b.module.globals.get(name) or ir.Function(b.module, kind, name)
    return b.call(function, arguments)


def _compress(b, vector, flags):
    """Return the flagged lanes of `vector`, moved together to its start."""
    width, lanes = vector.type.element.width, vector.type.count
    name = f"llvm.experimental.vector.compress.v{lanes}i{width}"
    nothing = ir.Constant(vector.type, ir.Undefined)
    return _call(b, name, vector.type, [vector, flags, nothing])


def _store_first(b, vector, count, array, i):
    """Write the first `count` (a 64-bit word) lanes of a vector of 16 to array[i], ..."""
    ones = b.sub(b.shl(ir.Constant(_I64, 1), count), ir.Constant(_I64, 1))
    at = b.bitcast(b.gep(array, [i]), vector.type.as_pointer())
    flags = _bits(b, ones, 16)
    _call(
        b,
        "llvm.masked.store.v16i32.p0",
        ir.VoidType(),
        [vector, at, ir.Constant(_I32, 1), flags],
    )


def _emit_mask64(b, flags, i):
    bytes_ = _load(b, flags, i, _I8, 64)
    return _word(b, b.icmp_unsigned("!=", bytes_, _constant(_I8, 64, 0)))


@_vector(_emit_mask64, types.uint64)
def mask64(flags, i):
    """Return uint64: bit j says whether flags[i + j] is not 0, for uint8 flags."""
    return np.uint64(sum(1 << j for j in range(64) if flags[i + j]))


def _emit_signs64(b, stream, i):
    bytes_ = _load(b, stream, i, _I8, 64)
    return _word(b, b.icmp_signed("<", bytes_, _constant(_I8, 64, 0)))


@_vector(_emit_signs64, types.uint64)
def signs64(stream, i):
    """Return uint64: bit j is the highest bit of stream[i + j], for a uint8 stream."""
    return np.uint64(sum(1 << j for j in range(64) if stream[i + j] >= 128))


def _emit_spread64(b, word, flags, i):
    _store(b, b.zext(_bits(b, word, 64), _type(_I8, 64)), flags, i)
    return ir.Constant(_I64, 0)


@_vector(_emit_spread64)
def spread64(word, flags, i):
    """Set flags[i + j] to bit j of `word`, for uint8 flags and 64 bits."""
    for j in range(64):
        flags[i + j] = (int(word) >> j) & 1
    return 0


def _emit_at_least16(b, values, i, floor):
    bits = b.and_(_load(b, values, i, _I32, 16), _constant(_I32, 16, 0x7FFFFFFF))
    first = b.insert_element(ir.Constant(bits.type, ir.Undefined), b.trunc(floor, _I32), _I32(0))
    floors = b.shuffle_vector(first, first, _constant(_I32, 16, 0))
    return _word(b, b.icmp_unsigned(">=", bits, floors))


@_vector(_emit_at_least16, types.uint64)
def at_least16(values, i, floor):
    """Return uint64: bit j says whether the bits of |values[i + j]| are `floor` or more.

    `values` are of 4 bytes, and there are 16 of them.
    """
    bits = values[i : i + 16].view(np.uint32) & np.uint32(0x7FFFFFFF)
    return np.uint64(sum(1 << j for j in range(16) if bits[j] >= floor))


def _emit_compress16(b, values, i, word, out, at):
    flags = _bits(b, word, 16)
    packed = _compress(b, _load(b, values, i, _I32, 16), flags)
    count = b.ctpop(_word(b, flags))
    _store_first(b, packed, count, out, at)
    return count


@_vector(_emit_compress16)
def compress16(values, i, word, out, at):
    """Move values[i + j] for each bit j < 16 of `word` to out[at], out[at + 1], ...; return how many.

    `values` and `out` are of 4 bytes each.
    """
    chosen = [i + j for j in range(16) if int(word) >> j & 1]
    out[at : at + len(chosen)] = values[chosen]
    return len(chosen)


def _emit_positions16(b, start, word, out, at):
    flags = _bits(b, word, 16)
    first = b.insert_element(_constant(_I32, 16, 0), b.trunc(start, _I32), _I32(0))
    starts = b.shuffle_vector(first, first, _constant(_I32, 16, 0))
    positions = b.add(starts, _constant(_I32, 16, list(range(16))))
    count = b.ctpop(_word(b, flags))
    _store_first(b, _compress(b, positions, flags), count, out, at)
    return count


@_vector(_emit_positions16)
def positions16(start, word, out, at):
    """Write start + j for each bit j < 16 of `word` to out[at], ...; return how many (uint32 out)."""
    chosen = [start + j for j in range(16) if int(word) >> j & 1]
    out[at : at + len(chosen)] = chosen
    return len(chosen)


def _emit_expand16(b, packed, at, word, out, i):
    flags = _bits(b, word, 16)
    kind = _type(_I32, 16)
    name = "llvm.masked.expandload.v16i32"
    first = b.bitcast(b.gep(packed, [at]), _I32.as_pointer())
    _store(b, _call(b, name, kind, [first, flags, _constant(_I32, 16, 0)]), out, i)
    return b.ctpop(_word(b, flags))


@_vector(_emit_expand16)
def expand16(packed, at, word, out, i):
    """Set out[i + j] to the next of packed[at], ... where bit j of `word` is set, else 0; j < 16.

    Returns how many were taken. `packed` and `out` are of 4 bytes each.
    """
    bits = [int(word) >> j & 1 for j in range(16)]
    taken = iter(packed[at : at + sum(bits)])
    out[i : i + 16] = [next(taken) if bit else 0 for bit in bits]
    return sum(bits)


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


def _emit_pairs64(b, stream, i, starts, gaps):
    bytes_ = _load(b, stream, i, _I8, 64)
    zero = _constant(_I8, 64, 0)
    following = b.shuffle_vector(bytes_, zero, _constant(_I32, 64, list(range(1, 65))))
    more = b.icmp_signed("<", bytes_, zero)
    high = b.select(more, following, zero)
    flags = _bits(b, starts, 64)
    wasted = b.and_(b.and_(more, flags), b.icmp_unsigned("==", following, zero))
    low = _compress(b, b.and_(bytes_, _constant(_I8, 64, 127)), flags)
    high = _compress(b, high, flags)
    wide = _type(_I16, 64)
    shifted = b.shl(b.zext(high, wide), _constant(_I16, 64, 7))
    _store(b, b.or_(b.zext(low, wide), shifted), gaps, _I64(0))
    clean = b.icmp_unsigned("==", b.bitcast(wasted, _I64), _I64(0))
    return b.select(clean, b.ctpop(_word(b, flags)), _I64(-1))


@_vector(_emit_pairs64)
def pairs64(stream, i, starts, gaps):
    """Read the varints of one or two bytes that start at the bits `starts` of 64 bytes.

    They are written to gaps[0], gaps[1], ... (uint16[64], all of it overwritten).
    Returns how many there are, or -1 if one has a second byte of 0. No start may need a
    byte after the 64.
    """
    count = 0
    for j in range(64):
        if int(starts) >> j & 1:
            low = int(stream[i + j])
            high = int(stream[i + j + 1]) if low >= 128 else 0
            if low >= 128 and high == 0:
                return -1
            gaps[count] = low & 127 | high << 7
            count += 1
    return count


def _emit_sums16(b, gaps, j, before, out, i):
    kind = _type(_I32, 16)
    sums = b.add(b.zext(_load(b, gaps, j, _I16, 16), kind), _constant(_I32, 16, 1))
    zero = _constant(_I32, 16, 0)
    for step in (1, 2, 4, 8):
        lanes = [16 + lane if lane < step else lane - step for lane in range(16)]
        shifted = b.shuffle_vector(sums, zero, _constant(_I32, 16, lanes))
        sums = b.add(sums, shifted)
    first = b.insert_element(zero, b.trunc(before, _I32), _I32(0))
    sums = b.add(sums, b.shuffle_vector(first, first, zero))
    _store(b, sums, out, i)
    return b.zext(b.extract_element(sums, _I32(15)), _I64)


@_vector(_emit_sums16)
def sums16(gaps, j, before, out, i):
    """Set out[i + l] = before + the sum of gaps[j + m] + 1 over m <= l, for l < 16; return the last.

    `gaps` is uint16, `out` uint32; sums wrap at 2**32.
    """
    total = int(before)
    for lane in range(16):
        total = total + int(gaps[j + lane]) + 1 & 0xFFFFFFFF
        out[i + lane] = total
    return total
