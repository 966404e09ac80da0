"""Tiles, which are blocks of vector registers: their numba type and the code generator for them.

The functions on tiles that kernels call are in `kernels.lanes`.
"""


from collections.abc import Callable
from inspect import signature
from typing import Any, TypeVar

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import lower_builtin, models, register_model, type_callable

from fedmpi.kernels._llvm import frozen

LANES = 16

Function = TypeVar("Function", bound=Callable[..., Any])

I64 = ir.IntType(64)
I32 = ir.IntType(32)

_ANY = (types.VarArg(types.Any),)


def addition(kind: ir.VectorType) -> str:
    """Return the assembly of an addition of vectors on the processor that numba compiles for.

    It therefore follows NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, which `run.portable` sets.
    """
    module, place = ir.Module(), kind.as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [place, place]), "add")
    b = ir.IRBuilder(function.append_basic_block())
    add = b.add if isinstance(kind.element, ir.IntType) else b.fadd
    b.store(add(*map(b.load, function.args)), function.args[0])
    b.ret_void()
    parsed = binding.parse_assembly(str(module))
    machine = cpu_target.target_context.codegen()._tm
    parsed.triple = machine.triple
    return str(machine.emit_assembly(parsed))


def _width() -> int:
    """Return how many float32 a register holds."""
    text = addition(vectors(LANES))
    return 16 if "zmm" in text else 8 if "ymm" in text else 4


def vectors(lanes: int) -> ir.VectorType:
    """Return the LLVM type of a vector of `lanes` float32."""
    return ir.VectorType(ir.FloatType(), lanes)


WIDTH = _width()  # 16 with AVX-512 (32 registers), 8 with AVX2 (16), 4 with SSE (16) and NEON (32)


class Tile(types.Type):
    """The numba type of rows x cols vectors of 16 float32."""

    def __init__(self, rows: int, cols: int) -> None:
        self.rows, self.cols = rows, cols
        super().__init__(name=f"Tile({rows}, {cols})")


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager: Any, tile: Tile) -> None:
        super().__init__(manager, tile, ir.ArrayType(vectors(LANES), tile.rows * tile.cols))


def tiled(
    emit: Callable[..., ir.Value], gives: Callable[..., types.Type | None] | None = None,
    arguments: tuple[Any, ...] = _ANY,
) -> Callable[[Function], Function]:
    """Return a decorator that makes compiled kernels run the code of `emit`, not the body.

    emit(Emit, *operands) returns the result, and gives(*types) its type. Without `gives`,
    the result is a tile of the same type as the first argument.
    """

    def decorate(function: Function) -> Function:
        def typer(*given: types.Type) -> types.Type | None:
            if gives:
                return gives(*given)
            return given[0] if isinstance(given[0], Tile) else None

        typer.__signature__ = signature(function)  # type: ignore[attr-defined]
        type_callable(function)(lambda context: typer)

        @lower_builtin(function, *arguments)
        def lower(context: Any, builder: ir.IRBuilder, sig: Any, operands: Any) -> ir.Value:
            return emit(Emit(context, builder, sig), *operands)

        return function

    return decorate


class Emit:
    """A call that is being compiled: LLVM's builder, with shorthands for tiles.

    `number` is the position of an array among the arguments. Nothing is bounds-checked.
    """

    def __init__(self, context: Any, builder: ir.IRBuilder, sig: Any) -> None:
        self.context, self.builder, self.sig = context, builder, sig
        tiles = [kind for kind in (sig.return_type, *sig.args) if isinstance(kind, Tile)]
        tile = tiles[0] if tiles else Tile(0, 0)
        self.rows, self.cols = tile.rows, tile.cols
        self.vectors = vectors(LANES)

    def pointer(self, number: int, array: ir.Value, *offsets: ir.Value) -> ir.Value:
        """Return the address of array[sum of offsets]."""
        kind = self.sig.args[number]
        address = self.context.make_array(kind)(self.context, self.builder, array).data
        for offset in offsets:
            address = self.builder.gep(address, [offset])
        return address

    def item(self, number: int, array: ir.Value, *offsets: ir.Value) -> ir.Value:
        """Return the scalar array[sum of offsets]."""
        return self.builder.load(self.pointer(number, array, *offsets))

    def place(self, number: int, places: ir.Value, i: ir.Value, r: int) -> ir.Value:
        """Return places[i + r], an int64."""
        return self.item(number, places, i, I64(r))

    def load(self, address: ir.Value, c: int = 0) -> ir.Value:
        """Return the vector that is `c` vectors behind an address."""
        value = self.builder.load(self._vector(address, c))
        value.align = 4
        return value

    def store(self, vector: ir.Value, address: ir.Value, c: int) -> None:
        """Write a whole vector `c` vectors behind an address; `frozen` says why it is whole."""
        self.builder.store(frozen(self.builder, vector), self._vector(address, c)).align = 4

    def store_below(
        self, count: ir.Value, given: list[ir.Value], addresses: list[ir.Value], c: int
    ) -> None:
        """Write the lanes with 16 c + lane < count of each vector `c` vectors behind its address.

        A store by a mask takes some 20 cycles on AMD processors without AVX-512, and a load behind
        it waits. So the vectors go through the stack, in pieces of 8, 4, 2 and 1 lanes.
        """
        b, rest = self.builder, self.builder.sub(count, I64(LANES * c))
        with b.if_else(b.icmp_signed(">=", rest, I64(LANES))) as (whole, part):
            with whole:
                for vector, address in zip(given, addresses, strict=True):
                    self.store(vector, address, c)
            with part:
                some = b.icmp_signed(">", rest, I64(0))
                rest = b.select(some, rest, I64(0))
                held = [cgutils.alloca_once(b, self.vectors) for _ in given]
                for vector, place in zip(given, held, strict=True):
                    b.store(vector, place).align = 4
                for size in (8, 4, 2, 1):
                    with b.if_then(b.icmp_signed("!=", b.and_(rest, I64(size)), I64(0))):
                        first = b.and_(rest, I64(-2 * size))
                        kind = vectors(size).as_pointer()
                        for place, address in zip(held, addresses, strict=True):
                            source = b.gep(b.bitcast(place, address.type), [first])
                            target = b.gep(address, [b.add(first, I64(LANES * c))])
                            piece = b.load(b.bitcast(source, kind))
                            piece.align = 4
                            b.store(piece, b.bitcast(target, kind)).align = 4

    def below(self, count: ir.Value, first: int = 0) -> ir.Value:
        """Return 16 flags: whether first + lane < count, an int64."""
        kind, rest = ir.VectorType(I32, LANES), self.builder.sub(count, I64(first))
        one = self.builder.insert_element(kind(ir.Undefined), self.builder.trunc(rest, I32), I32(0))
        counts = self.builder.shuffle_vector(one, one, kind([0] * LANES))
        return self.builder.icmp_signed("<", kind(list(range(LANES))), counts)

    def splat(self, scalar: ir.Value) -> ir.Value:
        """Return a vector with the scalar in every lane."""
        one = self.builder.insert_element(self.vectors(ir.Undefined), scalar, I32(0))
        return self.shuffle(one, one, [0] * LANES)

    def shuffle(self, one: ir.Value, other: ir.Value, lanes: list[int]) -> ir.Value:
        """Return a vector of the given lanes of `one` (0 to 15) and `other` (from 16)."""
        kind = ir.VectorType(I32, LANES)
        return self.builder.shuffle_vector(one, other, ir.Constant(kind, lanes))

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """Return a * b + c, rounded once."""
        kind = ir.FunctionType(self.vectors, [self.vectors] * 3)
        name = f"llvm.fma.v{LANES}f32"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, [a, b, c])

    def part(self, tile: ir.Value, r: int, c: int) -> ir.Value:
        """Return vector (r, c) of a tile."""
        return self.builder.extract_value(tile, r * self.cols + c)

    def build(self, vector_at: Callable[[int, int], ir.Value]) -> ir.Value:
        """Return the tile whose vectors are vector_at(r, c)."""
        tile = ir.Constant(ir.ArrayType(self.vectors, self.rows * self.cols), ir.Undefined)
        for r in range(self.rows):
            for c in range(self.cols):
                tile = self.builder.insert_value(tile, vector_at(r, c), r * self.cols + c)
        return tile

    def _vector(self, address: ir.Value, c: int) -> ir.Value:
        place = self.builder.gep(address, [I64(LANES * c)])
        return self.builder.bitcast(place, self.vectors.as_pointer())
