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
    """Return the flagged lanes of `vector`, moved together to its start, then zeros."""
    width, lanes = vector.type.element.width, vector.type.count
    name = f"llvm.experimental.vector.compress.v{lanes}i{width}"
    zeros = _constant(vector.type.element, lanes, 0)
    return _call(b, name, vector.type, [vector, flags, zeros])


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


@_vector(lambda b, word: b.ctpop(word))
def ones(word):
    """Return int64: the number of ones in a uint64."""
    return int(word).bit_count()


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


def _emit_positions64(b, start, word, out, at):
    flags = _bits(b, word, 64)
    places = _compress(b, _constant(_I8, 64, list(range(64))), flags)
    first = b.insert_element(_constant(_I32, 16, 0), b.trunc(start, _I32), _I32(0))
    starts = b.shuffle_vector(first, first, _constant(_I32, 16, 0))
    count = b.ctpop(word)

    def write(part):
        lanes = _constant(_I32, 16, list(range(part, part + 16)))
        near = b.zext(b.shuffle_vector(places, places, lanes), _type(_I32, 16))
        _store(b, b.add(starts, near), out, b.add(at, _I64(part)))

    write(0)
    with b.if_then(b.icmp_unsigned(">", count, _I64(16))):
        for part in (16, 32, 48):
            write(part)
    return count


@_vector(_emit_positions64)
def positions64(start, word, out, at):
    """Write start + j for each bit j of `word` to out[at], ...; return how many (uint32 out).

    Any of out[at] to out[at + 63] may be overwritten.
    """
    chosen = [start + j for j in range(64) if int(word) >> j & 1]
    out[at : at + len(chosen)] = chosen
    return len(chosen)


def _emit_put64(b, word, stream, i):
    at = b.bitcast(b.gep(stream, [i]), _I64.as_pointer())
    b.store(word, at).align = 1
    return ir.Constant(_I64, 0)


@_vector(_emit_put64)
def put64(word, stream, i):
    """Write the 8 bytes of `word` to stream[i], ..., lowest first, for a uint8 stream."""
    stream[i : i + 8] = [int(word) >> shift & 255 for shift in range(0, 64, 8)]
    return 0


def _emit_get64(b, stream, i):
    loaded = b.load(b.bitcast(b.gep(stream, [i]), _I64.as_pointer()))
    loaded.align = 1
    return loaded


@_vector(_emit_get64, types.uint64)
def get64(stream, i):
    """Return the 8 bytes at stream[i], lowest first, as uint64, for a uint8 stream."""
    return np.uint64(sum(int(stream[i + j]) << 8 * j for j in range(8)))
