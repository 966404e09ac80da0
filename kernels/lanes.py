"""Register tiles: small blocks of 16-lane float32 vectors that stay in registers.

A kernel that is written with tiles states which values are in registers and in which
order they are added, so it does not depend on how the compiler treats a loop. Adding a
product is one fused multiply-add, rounded once, so a kernel gives the same bits on every
machine, for any vector width.

Each function is written twice. The Python body defines it, with a tile as float32[R, C, 16],
and runs when the compiler is off (NUMBA_DISABLE_JIT=1; then products are not fused). Compiled
kernels run the vector code above the body instead. `places` are int64[.] offsets into the
array argument before them: row r of a tile uses places[i + r]. Column c is the lanes
[16 c, 16 c + 16) behind `at`. Nothing is bounds-checked.
"""

import operator
from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from fedmpi.kernels._tile import LANES, WIDTH, Emit, Tile, tiled  # noqa: F401, others import WIDTH


def _rows(tile: NDArray[np.float32], places: NDArray[np.int64], i: int) -> NDArray[np.int64]:
    return places[i : i + len(tile)]


def _of_literals(rows: types.Type, cols: types.Type, value: types.Type) -> Tile | None:
    if isinstance(rows, types.IntegerLiteral) and isinstance(cols, types.IntegerLiteral):
        return Tile(rows.literal_value, cols.literal_value)
    return None


def _none(*given: types.Type) -> types.Type:
    return types.none


def _emit_full(emit: Emit, rows: ir.Value, cols: ir.Value, value: ir.Value) -> ir.Value:
    value = emit.context.cast(emit.builder, value, emit.sig.args[2], types.float32)
    vector = emit.splat(value)
    return emit.build(lambda r, c: vector)


@tiled(_emit_full, _of_literals)
def full(rows: int, cols: int, value: float) -> NDArray[np.float32]:
    """Return a tile with `value` in every lane; rows and cols are literals."""
    return np.full((rows, cols, LANES), value, np.float32)


def _emit_filled(emit: Emit, tile: ir.Value, value: ir.Value) -> ir.Value:
    value = emit.context.cast(emit.builder, value, emit.sig.args[1], types.float32)
    vector = emit.splat(value)
    return emit.build(lambda r, c: vector)


@tiled(_emit_filled)
def filled(tile: NDArray[np.float32], value: float) -> NDArray[np.float32]:
    """Return a tile like `tile` with `value` in every lane."""
    return np.full_like(tile, value)


def _emit_loaded(
    emit: Emit, tile: ir.Value, array: ir.Value, places: ir.Value, i: ir.Value, at: ir.Value
) -> ir.Value:
    rows = [emit.pointer(1, array, emit.place(2, places, i, r), at) for r in range(emit.rows)]
    return emit.build(lambda r, c: emit.load(rows[r], c))


@tiled(_emit_loaded)
def loaded(
    tile: NDArray[np.float32], array: NDArray[np.float32], places: NDArray[np.int64], i: int,
    at: int,
) -> NDArray[np.float32]:
    """Return a tile like `tile` with array[places[i + r] + at + 16 c + lane]."""
    rows = [array[p + at : p + at + tile[0].size] for p in _rows(tile, places, i)]
    return np.array(rows).reshape(tile.shape)


def _emit_vector(emit: Emit, tile: ir.Value, array: ir.Value, at: ir.Value) -> ir.Value:
    address = emit.pointer(1, array, at)
    return emit.build(lambda r, c: emit.load(address, c))


@tiled(_emit_vector)
def vector(tile: NDArray[np.float32], array: NDArray[np.float32], at: int) -> NDArray[np.float32]:
    """Return a tile like `tile` whose rows all hold array[at + 16 c + lane]."""
    return np.broadcast_to(array[at : at + tile[0].size].reshape(tile.shape[1:]), tile.shape)


def _emit_spread(
    emit: Emit, tile: ir.Value, array: ir.Value, places: ir.Value, i: ir.Value
) -> ir.Value:
    rows = [emit.splat(emit.item(1, array, emit.place(2, places, i, r))) for r in range(emit.rows)]
    return emit.build(lambda r, c: rows[r])


@tiled(_emit_spread)
def spread(
    tile: NDArray[np.float32], array: NDArray[np.float32], places: NDArray[np.int64], i: int
) -> NDArray[np.float32]:
    """Return a tile like `tile` whose row r holds array[places[i + r]] in every lane."""
    return np.broadcast_to(array[_rows(tile, places, i)][:, None, None], tile.shape)


def _emit_store(
    emit: Emit, tile: ir.Value, array: ir.Value, places: ir.Value, i: ir.Value, at: ir.Value
) -> ir.Value:
    for r in range(emit.rows):
        address = emit.pointer(1, array, emit.place(2, places, i, r), at)
        for c in range(emit.cols):
            emit.store(emit.part(tile, r, c), address, c)
    return emit.context.get_dummy_value()


@tiled(_emit_store, _none)
def store(
    tile: NDArray[np.float32], array: NDArray[np.float32], places: NDArray[np.int64], i: int,
    at: int,
) -> None:
    """Write the tile to array[places[i + r] + at + 16 c + lane]."""
    for values, p in zip(tile, _rows(tile, places, i), strict=True):
        array[p + at : p + at + values.size] = values.reshape(-1)


def _emit_outer(
    emit: Emit, tile: ir.Value, scalars: ir.Value, places: ir.Value, i: ir.Value, step: ir.Value,
    array: ir.Value, at: ir.Value,
) -> ir.Value:
    address = emit.pointer(5, array, at)
    vectors = [emit.load(address, c) for c in range(emit.cols)]
    rows = [
        emit.splat(emit.item(1, scalars, emit.place(2, places, i, r), step))
        for r in range(emit.rows)
    ]
    return emit.build(lambda r, c: emit.fma(rows[r], vectors[c], emit.part(tile, r, c)))


@tiled(_emit_outer)
def outer(
    tile: NDArray[np.float32], scalars: NDArray[np.float32], places: NDArray[np.int64], i: int,
    step: int, array: NDArray[np.float32], at: int,
) -> NDArray[np.float32]:
    """Return tile + scalars[places[i + r] + step] * array[at + 16 c + lane]."""
    vectors = array[at : at + tile[0].size].reshape(tile.shape[1:])
    return tile + scalars[_rows(tile, places, i) + step][:, None, None] * vectors


def _emit_inner(
    emit: Emit, tile: ir.Value, left: ir.Value, places: ir.Value, i: ir.Value, at: ir.Value,
    right: ir.Value, columns: ir.Value, j: ir.Value, start: ir.Value,
) -> ir.Value:
    rows = [
        emit.load(emit.pointer(1, left, emit.place(2, places, i, r), at)) for r in range(emit.rows)
    ]
    cols = [
        emit.load(emit.pointer(5, right, emit.place(6, columns, j, c), start))
        for c in range(emit.cols)
    ]
    return emit.build(lambda r, c: emit.fma(rows[r], cols[c], emit.part(tile, r, c)))


@tiled(_emit_inner)
def inner(
    tile: NDArray[np.float32], left: NDArray[np.float32], places: NDArray[np.int64], i: int,
    at: int, right: NDArray[np.float32], columns: NDArray[np.int64], j: int, start: int,
) -> NDArray[np.float32]:
    """Return tile + left[places[i + r] + at + lane] * right[columns[j + c] + start + lane]."""
    size = tile.shape[2]
    rows = np.array([left[p + at : p + at + size] for p in _rows(tile, places, i)])
    places = columns[j : j + tile.shape[1]]
    cols = np.array([right[p + start : p + start + size] for p in places])
    added: NDArray[np.float32] = tile + rows[:, None] * cols
    return added


def _emit_where(sign: str) -> Callable[..., ir.Value]:
    def emit_where(emit: Emit, *tiles: ir.Value) -> ir.Value:
        def choose(r: int, c: int) -> ir.Value:
            a, b, x, y = (emit.part(tile, r, c) for tile in tiles)
            return emit.builder.select(emit.builder.fcmp_ordered(sign, a, b), x, y)

        return emit.build(choose)

    return emit_where


@tiled(_emit_where(">"))
def where_greater(
    a: NDArray[np.float32], b: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return x where a > b, and y elsewhere, also where a or b is NaN."""
    return np.where(a > b, x, y)


@tiled(_emit_where("=="))
def where_equal(
    a: NDArray[np.float32], b: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return x where a == b, and y elsewhere, also where a or b is NaN."""
    return np.where(a == b, x, y)


def _emit_binary(instruction: str) -> Callable[[Emit, ir.Value, ir.Value], ir.Value]:
    def emit_binary(emit: Emit, a: ir.Value, b: ir.Value) -> ir.Value:
        apply = getattr(emit.builder, instruction)
        return emit.build(lambda r, c: apply(emit.part(a, r, c), emit.part(b, r, c)))

    return emit_binary


for _sign, _instruction in (("add", "fadd"), ("sub", "fsub"), ("mul", "fmul")):
    tiled(_emit_binary(_instruction), arguments=(Tile, Tile))(getattr(operator, _sign))


def _emit_fused(emit: Emit, *tiles: ir.Value) -> ir.Value:
    return emit.build(lambda r, c: emit.fma(*(emit.part(tile, r, c) for tile in tiles)))


@tiled(_emit_fused)
def fused(
    a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return a * b + c."""
    return a * b + c


def _emit_sums(emit: Emit, tile: ir.Value, array: ir.Value) -> ir.Value:
    """Fold every 16 vectors, two by two, into one vector that holds their 16 sums."""
    count = emit.rows * emit.cols
    vectors = [emit.builder.extract_value(tile, k) for k in range(count)]
    vectors += [emit.vectors([0.0] * LANES)] * (-count % LANES)
    width = LANES
    while width > 1:
        # Add the halves of each group of `width` lanes; the first vector's groups come first.
        low = [k for k in range(2 * LANES) if k % width < width // 2]
        high = [k + width // 2 for k in low]
        vectors = [
            emit.builder.fadd(emit.shuffle(one, other, low), emit.shuffle(one, other, high))
            for one, other in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        width //= 2
    address = emit.pointer(1, array)
    for c, sums_ in enumerate(vectors):
        emit.store(sums_, address, c)
    return emit.context.get_dummy_value()


@tiled(_emit_sums, _none)
def sums(tile: NDArray[np.float32], array: NDArray[np.float32]) -> None:
    """Write the sum over the lanes of row r, column c to array[r * cols + c].

    The lanes are added in halves: 16 to 8, to 4, to 2, to 1. The numbers that follow in
    `array`, up to a multiple of 16, may be overwritten.
    """
    while tile.shape[-1] > 1:
        half = tile.shape[-1] // 2
        tile = tile[..., :half] + tile[..., half:]
    rest = [np.nan] * (-tile.size % LANES)  # numbers that may be overwritten; fails without room
    array[: tile.size + len(rest)] = [*tile.reshape(-1), *rest]


def _emit_item(emit: Emit, table: ir.Value, i: ir.Value) -> ir.Value:
    return emit.item(0, table, i)


def _int64(*given: types.Type) -> types.Type:
    return types.int64


@tiled(_emit_item, _int64)
def item(table: NDArray[np.int64], i: int) -> int:
    """Return table[i] of an int64 table; i is not negative."""
    found: int = table[i]
    return found
