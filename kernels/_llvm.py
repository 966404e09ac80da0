"""Building blocks of steps of 16 or 64 lanes: a few operations of LLVM's vector language.

No loop becomes a mask, a compression or an expansion. LLVM has operations for these
(`experimental.vector.compress`, `masked.expandload`, `masked.store` in its language reference),
which become single instructions on processors that have them (AVX-512) and correct code on all
others. The steps themselves are in `kernels._vector` and `kernels._varint`. Throughout, `b` is
an `llvmlite.ir.IRBuilder`, a word has 64 bits, and flags are a vector of single bits.
"""

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

Function = TypeVar("Function", bound=Callable[..., Any])

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))


def vectorised(
    emit: Callable[..., ir.Value], result: types.Type = types.int64
) -> Callable[[Function], Function]:
    """Return a decorator that makes compiled kernels run the vector code of `emit`, not the body.

    emit(builder, *operands) returns the result, which has the type `result`. Arrays are passed
    to `emit` as pointers to their data, integers as 64 bits.
    """

    def decorate(body: Function) -> Function:
        if numba.config.DISABLE_JIT:  # type: ignore[attr-defined] # set from the environment
            return body

        def typed(typing: Any, *given: Any) -> Any:
            for kind in given:
                if isinstance(kind, types.Array) and kind.layout != "C":
                    raise TypingError(f"{body.__name__}: {kind} must be contiguous")
            wide = (types.int64, types.uint64)
            kinds = [
                kind if isinstance(kind, types.Array) else wide[not kind.signed] for kind in given
            ]

            def code(context: Any, builder: ir.IRBuilder, called: Any, operands: Any) -> ir.Value:
                operands = [
                    make_array(kind)(context, builder, operand).data
                    if isinstance(kind, types.Array)
                    else operand
                    for kind, operand in zip(kinds, operands)
                ]
                value = emit(builder, *operands)
                return impl_ret_untracked(context, builder, called.return_type, value)

            return result(*kinds), code

        typed.__name__ = body.__name__
        typed.__signature__ = _with_first(body, "typing")  # type: ignore[attr-defined]
        return cast(Function, intrinsic(typed))

    return decorate


def _with_first(body: Callable[..., Any], name: str) -> Signature:
    """Return the signature of `body` with one more argument before the others."""
    given = signature(body)
    first = Parameter(name, Parameter.POSITIONAL_OR_KEYWORD)
    return given.replace(parameters=[first, *given.parameters.values()])


def frozen(b: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Return the value after LLVM's `freeze`, for which llvmlite has no function.

    The value does not change, but LLVM no longer sees that it is either the old content of a
    location or a new value. Otherwise LLVM would use a masked store of the lanes that change,
    which takes some 20 cycles on AMD processors without AVX-512.
    """
    same = ir.Instruction(b.block, value.type, "freeze", [value])
    b._insert(same)
    return same


def unmasked(value: Any) -> Any:
    """Return `value` itself, in loops that store either a loaded value or a new one in its place.

    Without this call, LLVM would use a masked store; see `frozen`.
    """
    return value


if not numba.config.DISABLE_JIT:  # type: ignore[attr-defined] # set from the environment

    @intrinsic
    def unmasked(typing: Any, value: Any) -> Any:
        """Compile the function of the same name above."""
        return value(value), lambda context, b, called, operands: frozen(b, operands[0])


def lanes_of(width: ir.Type, lanes: int) -> ir.VectorType:
    """Return the LLVM type of a vector of `lanes` elements of type `width`."""
    return ir.VectorType(width, lanes)


def constant(width: ir.Type, lanes: int, values: int | list[int]) -> ir.Constant:
    """Return a constant vector of `lanes` lanes, from one value for all or a list of values."""
    values = values if isinstance(values, list) else [values] * lanes
    return ir.Constant(lanes_of(width, lanes), values)


def load(
    b: ir.IRBuilder, array: ir.Value, i: ir.Value, width: ir.Type, lanes: int
) -> ir.Value:
    """Return lanes i, i + 1, ... of `array`."""
    at = b.bitcast(b.gep(array, [i]), lanes_of(width, lanes).as_pointer())
    loaded = b.load(at)
    loaded.align = 1
    return loaded


def store(b: ir.IRBuilder, vector: ir.Value, array: ir.Value, i: ir.Value) -> None:
    """Write `vector`, or a word, to array[i], array[i + 1], ..."""
    at = b.bitcast(b.gep(array, [i]), vector.type.as_pointer())
    b.store(vector, at).align = 1


def splat(b: ir.IRBuilder, value: ir.Value, lanes: int = 16) -> ir.Value:
    """Return a vector of lanes that all hold a 32-bit value."""
    first = b.insert_element(constant(I32, lanes, 0), value, I32(0))
    return b.shuffle_vector(first, first, constant(I32, lanes, 0))


def flags_from(b: ir.IRBuilder, word: ir.Value, lanes: int) -> ir.Value:
    """Return the lowest `lanes` bits of the 64-bit `word` as a vector of flags."""
    if lanes < 64:
        word = b.trunc(word, ir.IntType(lanes))
    return b.bitcast(word, lanes_of(I1, lanes))


def word_from(b: ir.IRBuilder, flags: ir.Value) -> ir.Value:
    """Return a vector of flags as the low bits of a 64-bit word."""
    word = b.bitcast(flags, ir.IntType(flags.type.count))
    return word if flags.type.count == 64 else b.zext(word, I64)


def call(b: ir.IRBuilder, name: str, result: ir.Type, arguments: list[ir.Value]) -> ir.Value:
    """Call the LLVM function `name`."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    function = b.module.globals.get(name) or ir.Function(b.module, kind, name)
    return b.call(function, arguments)


def compress(b: ir.IRBuilder, vector: ir.Value, flags: ir.Value) -> ir.Value:
    """Return the flagged lanes of `vector`, moved to the front and followed by zeros."""
    width, lanes = vector.type.element.width, vector.type.count
    name = f"llvm.experimental.vector.compress.v{lanes}i{width}"
    zeros = constant(vector.type.element, lanes, 0)
    return call(b, name, vector.type, [vector, flags, zeros])


def store_places(
    b: ir.IRBuilder, start: ir.Value, word: ir.Value, most: int, array: ir.Value, i: ir.Value
) -> ir.Value:
    """Write start + j (32 bits) for each bit j set in `word` to array[i], ...; return their number.

    This uses no vector operations. Eight positions are written at a time, so that few branches are
    mispredicted. Elements behind the last position may be overwritten, up to array[i + most - 1].
    At most `most` bits of `word` are set.
    """
    first, count = b.trunc(start, I32), b.ctpop(word)

    def write(done: int, word: ir.Value) -> None:
        for k in range(done, done + 8):
            place = b.trunc(b.cttz(word, I1(0)), I32)
            b.store(b.add(first, place), b.gep(array, [b.add(i, I64(k))]))
            word = b.and_(word, b.sub(word, I64(1)))
        if done + 8 < most:
            with b.if_then(b.icmp_unsigned(">", count, I64(done + 8))):
                write(done + 8, word)

    write(0, word)
    return count
