"""Register tiles: small blocks of 16-lane float32 vectors that stay in registers.

A kernel that is written with tiles says which values live in registers and in which
order they are added, and does not depend on what the compiler makes of a loop. Each
product that is added is one fused multiply-add, rounded once, so a kernel gives the
same bits on every machine, whatever its vector width.

Every function below is defined twice: in Python, where a tile is float32[R, C, 16] (this
is what runs with NUMBA_DISABLE_JIT=1, without the fusing), and as what numba
compiles it to. `places` are int64[.] offsets into the array before them; row r of a tile
uses places[i + r], column c lanes [16 c, 16 c + 16) behind `at`. Nothing is bounds-checked.
"""

import operator
from inspect import signature

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, models, register_model, type_callable

LANES = 16

_I64 = ir.IntType(64)
_I32 = ir.IntType(32)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)


class Tile(types.Type):
    """The numba type of a tile of rows x cols vectors."""

    def __init__(self, rows, cols):
        self.rows, self.cols = rows, cols
        super().__init__(name=f"Tile({rows}, {cols})")


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager, tile):
        super().__init__(manager, tile, ir.ArrayType(_VECTOR, tile.rows * tile.cols))


# In Python ------------------------------------------------------------------------------


def full(rows, cols, value):
    """Return a tile (rows and cols literal) with `value` in every lane."""
    return np.full((rows, cols, LANES), value, np.float32)


def filled(tile, value):
    """Return a tile like `tile` with `value` in every lane."""
    return np.full_like(tile, value)


def loaded(tile, array, places, i, at):
    """Return a tile like `tile` with array[places[i + r] + at + 16 c + lane]."""
    return np.array([array[p + at : p + at + tile[0].size] for p in _rows(tile, places, i)]).reshape(
        tile.shape
    )


def vector(tile, array, at):
    """Return a tile like `tile` whose rows all hold array[at + 16 c + lane]."""
    return tile * np.float32(0) + array[at : at + tile[0].size].reshape(tile.shape[1:])


def spread(tile, array, places, i):
    """Return a tile like `tile` whose row r holds array[places[i + r]] in every lane."""
    return tile * np.float32(0) + array[_rows(tile, places, i)][:, None, None]


def store(tile, array, places, i, at):
    """Write the tile to array[places[i + r] + at + 16 c + lane]."""
    for values, p in zip(tile, _rows(tile, places, i), strict=True):
        array[p + at : p + at + values.size] = values.reshape(-1)


def outer(tile, scalars, places, i, step, array, at):
    """Return tile + scalars[places[i + r] + step] * array[at + 16 c + lane]."""
    vector = array[at : at + tile[0].size].reshape(tile.shape[1:])
    return tile + scalars[_rows(tile, places, i) + step][:, None, None] * vector


def inner(tile, left, places, i, at, right, columns, j, start):
    """Return tile + left[places[i + r] + at + lane] * right[columns[j + c] + start + lane]."""
    rows = np.array([left[p + at : p + at + LANES] for p in _rows(tile, places, i)])
    cols = columns[j : j + tile.shape[1]]
    return tile + rows[:, None] * np.array([right[p + start : p + start + LANES] for p in cols])


def where_greater(a, b, x, y):
    """Return x where a > b, and y elsewhere."""
    return np.where(a > b, x, y)


def where_equal(a, b, x, y):
    """Return x where a == b, and y elsewhere."""
    return np.where(a == b, x, y)


def fused(a, b, c):
    """Return a * b + c."""
    return a * b + c


def item(table, i):
    """Return table[i] of an int64 table, i not negative."""
    return table[i]


def sums(tile, array):
    """Write the sum over the lanes of row r, column c to array[r * cols + c].

    The lanes are added in halves: 16 to 8, to 4, to 2, to 1. What follows in `array`, up
    to a multiple of 16 numbers, is overwritten.
    """
    while tile.shape[-1] > 1:
        half = tile.shape[-1] // 2
        tile = tile[..., :half] + tile[..., half:]
    array[: tile.size] = tile.reshape(-1)


def _rows(tile, places, i):
    return places[i : i + len(tile)]


# Compiled -------------------------------------------------------------------------------


def _compiled(function, *arguments, gives=None):
    """Register the lowering of `function`, which returns gives(*types) or a tile like its first."""

    def typer(*given):
        if gives:
            return gives(*given)
        return given[0] if isinstance(given[0], Tile) else None

    typer.__signature__ = signature(function)
    type_callable(function)(lambda context: typer)

    def register(emit):
        @lower_builtin(function, *arguments)
        def _lowering(context, builder, sig, args):
            return emit(_Emit(context, builder, sig), *args)

        return emit

    return register


class _Emit:
    """Shorthands for one call that is being compiled."""

    def __init__(self, context, builder, sig):
        self.context, self.builder, self.sig = context, builder, sig
        self.tile = next((t for t in (sig.return_type, *sig.args) if isinstance(t, Tile)), None)

    def pointer(self, number, array, *offsets):
        """Address in the array that is argument `number`."""
        kind = self.sig.args[number]
        address = self.context.make_array(kind)(self.context, self.builder, array).data
        for offset in offsets:
            address = self.builder.gep(address, [offset])
        return address

    def place(self, number, places, i, r):
        """The int64 places[i + r]."""
        return self.builder.load(self.pointer(number, places, i, _I64(r)))

    def load(self, address, c=0):
        """Vector c behind an address."""
        value = self.builder.load(self._vector(address, c))
        value.align = 4
        return value

    def store(self, vector, address, c):
        """Write vector c behind an address."""
        self.builder.store(vector, self._vector(address, c)).align = 4

    def splat(self, scalar):
        """A vector with the scalar in every lane."""
        one = self.builder.insert_element(_VECTOR(ir.Undefined), scalar, _I32(0))
        zeros = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
        return self.builder.shuffle_vector(one, _VECTOR(ir.Undefined), zeros)

    def fma(self, a, b, c):
        """a * b + c, rounded once."""
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        name = f"llvm.fma.v{LANES}f32"
        fma = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(fma, [a, b, c])

    def part(self, tile, r, c):
        """One vector of a tile."""
        return self.builder.extract_value(tile, r * self.tile.cols + c)

    def build(self, vector_at):
        """A tile of vector_at(r, c)."""
        tile = ir.Constant(ir.ArrayType(_VECTOR, self.tile.rows * self.tile.cols), ir.Undefined)
        for r in range(self.tile.rows):
            for c in range(self.tile.cols):
                tile = self.builder.insert_value(tile, vector_at(r, c), r * self.tile.cols + c)
        return tile

    def _vector(self, address, c):
        place = self.builder.gep(address, [_I64(LANES * c)])
        return self.builder.bitcast(place, _VECTOR.as_pointer())


def _full_type(rows, cols, value):
    if isinstance(rows, types.IntegerLiteral) and isinstance(cols, types.IntegerLiteral):
        return Tile(rows.literal_value, cols.literal_value)
    return None


def _none_type(*args):
    return types.none


@_compiled(full, types.IntegerLiteral, types.IntegerLiteral, types.Float, gives=_full_type)
def _full(emit, rows, cols, value, kind=None):
    kind = kind or emit.sig.args[2]
    vector = emit.splat(emit.context.cast(emit.builder, value, kind, types.float32))
    return emit.build(lambda r, c: vector)


@_compiled(filled, Tile, types.Float)
def _filled(emit, tile, value):
    return _full(emit, None, None, value, emit.sig.args[1])


@_compiled(loaded, Tile, types.Array, types.Array, types.Integer, types.Integer)
def _loaded(emit, tile, array, places, i, at):
    rows = [
        emit.pointer(1, array, emit.place(2, places, i, r), at) for r in range(emit.tile.rows)
    ]
    return emit.build(lambda r, c: emit.load(rows[r], c))


@_compiled(vector, Tile, types.Array, types.Integer)
def _vector(emit, tile, array, at):
    address = emit.pointer(1, array, at)
    return emit.build(lambda r, c: emit.load(address, c))


@_compiled(spread, Tile, types.Array, types.Array, types.Integer)
def _spread(emit, tile, array, places, i):
    rows = [
        emit.splat(emit.builder.load(emit.pointer(1, array, emit.place(2, places, i, r))))
        for r in range(emit.tile.rows)
    ]
    return emit.build(lambda r, c: rows[r])


@_compiled(store, Tile, types.Array, types.Array, types.Integer, types.Integer, gives=_none_type)
def _store(emit, tile, array, places, i, at):
    for r in range(emit.tile.rows):
        address = emit.pointer(1, array, emit.place(2, places, i, r), at)
        for c in range(emit.tile.cols):
            emit.store(emit.part(tile, r, c), address, c)
    return emit.context.get_dummy_value()


@_compiled(
    outer, Tile, types.Array, types.Array, types.Integer, types.Integer, types.Array, types.Integer
)
def _outer(emit, tile, scalars, places, i, step, array, at):
    address = emit.pointer(5, array, at)
    vectors = [emit.load(address, c) for c in range(emit.tile.cols)]
    rows = [
        emit.splat(emit.builder.load(emit.pointer(1, scalars, emit.place(2, places, i, r), step)))
        for r in range(emit.tile.rows)
    ]
    return emit.build(lambda r, c: emit.fma(rows[r], vectors[c], emit.part(tile, r, c)))


@_compiled(
    inner, Tile, types.Array, types.Array, types.Integer, types.Integer,
    types.Array, types.Array, types.Integer, types.Integer,
)  # fmt: skip
def _inner(emit, tile, left, places, i, at, right, columns, j, start):
    rows = [
        emit.load(emit.pointer(1, left, emit.place(2, places, i, r), at))
        for r in range(emit.tile.rows)
    ]
    cols = [
        emit.load(emit.pointer(5, right, emit.place(6, columns, j, c), start))
        for c in range(emit.tile.cols)
    ]
    return emit.build(lambda r, c: emit.fma(rows[r], cols[c], emit.part(tile, r, c)))


def _compare(function, sign):
    @_compiled(function, Tile, Tile, Tile, Tile)
    def _where(emit, *tiles):
        def choose(r, c):
            a, b, x, y = (emit.part(tile, r, c) for tile in tiles)
            return emit.builder.select(emit.builder.fcmp_ordered(sign, a, b), x, y)

        return emit.build(choose)


def _binary(function, instruction):
    @_compiled(function, Tile, Tile)
    def _apply(emit, a, b):
        apply = getattr(emit.builder, instruction)
        return emit.build(lambda r, c: apply(emit.part(a, r, c), emit.part(b, r, c)))


_compare(where_greater, ">")
_compare(where_equal, "==")
_binary(operator.add, "fadd")
_binary(operator.sub, "fsub")
_binary(operator.mul, "fmul")


def _item_type(table, i):
    return types.int64


@_compiled(item, types.Array, types.Integer, gives=_item_type)
def _item(emit, table, i):
    return emit.builder.load(emit.pointer(0, table, i))


@_compiled(fused, Tile, Tile, Tile)
def _fused(emit, *tiles):
    return emit.build(lambda r, c: emit.fma(*(emit.part(tile, r, c) for tile in tiles)))


@_compiled(sums, Tile, types.Array, gives=_none_type)
def _sums(emit, tile, array):
    """Sixteen vectors are folded into one that holds their sums, two by two."""
    count = emit.tile.rows * emit.tile.cols
    vectors = [emit.builder.extract_value(tile, k) for k in range(count)]
    vectors += [_VECTOR([0.0] * LANES)] * (-count % LANES)
    width = LANES
    while width > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [_folded(emit, one, other, width) for one, other in pairs]
        width //= 2
    address = emit.pointer(1, array)
    for c, vector in enumerate(vectors):
        emit.store(vector, address, c)
    return emit.context.get_dummy_value()


def _folded(emit, one, other, width):
    """Add the halves of each group of `width` lanes; the groups of `one` come first."""
    low = [k for k in range(2 * LANES) if k % width < width // 2]
    halves = [
        emit.builder.shuffle_vector(
            one, other, ir.Constant(ir.VectorType(_I32, LANES), [k + shift for k in low])
        )
        for shift in (0, width // 2)
    ]
    return emit.builder.fadd(*halves)
