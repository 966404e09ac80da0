"""Register tiles: small blocks of 16-lane float32 vectors that stay in registers.

A kernel that is written with tiles says which values live in registers and in which
order they are added, and does not depend on what the compiler makes of a loop. Each
product that is added is one fused multiply-add, rounded once, so a kernel gives the
same bits on every machine, whatever its vector width.

Each function is written twice. The Python body says what it does, with a tile as
float32[R, C, 16], and runs when the compiler is off (NUMBA_DISABLE_JIT=1; then products are not
fused). Compiled kernels get the vector code above it. `places` are int64[.] offsets into
the array before them: row r of a tile uses places[i + r]. Column c is the lanes
[16 c, 16 c + 16) behind `at`. Nothing is bounds-checked.
"""

import operator

import numpy as np
from numba import types

from fedmpi.kernels._tile import LANES, WIDTH, Tile, tiled  # noqa: F401, WIDTH is for others


def _rows(tile, places, i):
    return places[i : i + len(tile)]


def _of_literals(rows, cols, value):
    if isinstance(rows, types.IntegerLiteral) and isinstance(cols, types.IntegerLiteral):
        return Tile(rows.literal_value, cols.literal_value)
    return None


def _none(*given):
    return types.none


def _emit_full(emit, rows, cols, value):
    value = emit.context.cast(emit.builder, value, emit.sig.args[2], types.float32)
    vector = emit.splat(value)
    return emit.build(lambda r, c: vector)


@tiled(_emit_full, _of_literals)
def full(rows, cols, value):
    """Return a tile with `value` in every lane; rows and cols are literals."""
    return np.full((rows, cols, LANES), value, np.float32)


def _emit_filled(emit, tile, value):
    value = emit.context.cast(emit.builder, value, emit.sig.args[1], types.float32)
    vector = emit.splat(value)
    return emit.build(lambda r, c: vector)


@tiled(_emit_filled)
def filled(tile, value):
    """Return a tile like `tile` with `value` in every lane."""
    return np.full_like(tile, value)


def _emit_loaded(emit, tile, array, places, i, at):
    rows = [emit.pointer(1, array, emit.place(2, places, i, r), at) for r in range(emit.rows)]
    return emit.build(lambda r, c: emit.load(rows[r], c))


@tiled(_emit_loaded)
def loaded(tile, array, places, i, at):
    """Return a tile like `tile` with array[places[i + r] + at + 16 c + lane]."""
    rows = [array[p + at : p + at + tile[0].size] for p in _rows(tile, places, i)]
    return np.array(rows).reshape(tile.shape)


def _emit_vector(emit, tile, array, at):
    address = emit.pointer(1, array, at)
    return emit.build(lambda r, c: emit.load(address, c))


@tiled(_emit_vector)
def vector(tile, array, at):
    """Return a tile like `tile` whose rows all hold array[at + 16 c + lane]."""
    return np.broadcast_to(array[at : at + tile[0].size].reshape(tile.shape[1:]), tile.shape)


def _emit_spread(emit, tile, array, places, i):
    rows = [emit.splat(emit.item(1, array, emit.place(2, places, i, r))) for r in range(emit.rows)]
    return emit.build(lambda r, c: rows[r])


@tiled(_emit_spread)
def spread(tile, array, places, i):
    """Return a tile like `tile` whose row r holds array[places[i + r]] in every lane."""
    return np.broadcast_to(array[_rows(tile, places, i)][:, None, None], tile.shape)


def _emit_store(emit, tile, array, places, i, at):
    for r in range(emit.rows):
        address = emit.pointer(1, array, emit.place(2, places, i, r), at)
        for c in range(emit.cols):
            emit.store(emit.part(tile, r, c), address, c)
    return emit.context.get_dummy_value()


@tiled(_emit_store, _none)
def store(tile, array, places, i, at):
    """Write the tile to array[places[i + r] + at + 16 c + lane]."""
    for values, p in zip(tile, _rows(tile, places, i), strict=True):
        array[p + at : p + at + values.size] = values.reshape(-1)


def _emit_outer(emit, tile, scalars, places, i, step, array, at):
    address = emit.pointer(5, array, at)
    vectors = [emit.load(address, c) for c in range(emit.cols)]
    rows = [
        emit.splat(emit.item(1, scalars, emit.place(2, places, i, r), step))
        for r in range(emit.rows)
    ]
    return emit.build(lambda r, c: emit.fma(rows[r], vectors[c], emit.part(tile, r, c)))


@tiled(_emit_outer)
def outer(tile, scalars, places, i, step, array, at):
    """Return tile + scalars[places[i + r] + step] * array[at + 16 c + lane]."""
    vectors = array[at : at + tile[0].size].reshape(tile.shape[1:])
    return tile + scalars[_rows(tile, places, i) + step][:, None, None] * vectors


def _emit_inner(emit, tile, left, places, i, at, right, columns, j, start):
    rows = [
        emit.load(emit.pointer(1, left, emit.place(2, places, i, r), at)) for r in range(emit.rows)
    ]
    cols = [
        emit.load(emit.pointer(5, right, emit.place(6, columns, j, c), start))
        for c in range(emit.cols)
    ]
    return emit.build(lambda r, c: emit.fma(rows[r], cols[c], emit.part(tile, r, c)))


@tiled(_emit_inner)
def inner(tile, left, places, i, at, right, columns, j, start):
    """Return tile + left[places[i + r] + at + lane] * right[columns[j + c] + start + lane]."""
    size = tile.shape[2]
    rows = np.array([left[p + at : p + at + size] for p in _rows(tile, places, i)])
    cols = columns[j : j + tile.shape[1]]
    return tile + rows[:, None] * np.array([right[p + start : p + start + size] for p in cols])


def _emit_where(sign):
    def emit_where(emit, *tiles):
        def choose(r, c):
            a, b, x, y = (emit.part(tile, r, c) for tile in tiles)
            return emit.builder.select(emit.builder.fcmp_ordered(sign, a, b), x, y)

        return emit.build(choose)

    return emit_where


@tiled(_emit_where(">"))
def where_greater(a, b, x, y):
    """Return x where a > b, and y elsewhere, also where a or b is NaN."""
    return np.where(a > b, x, y)


@tiled(_emit_where("=="))
def where_equal(a, b, x, y):
    """Return x where a == b, and y elsewhere, also where a or b is NaN."""
    return np.where(a == b, x, y)


def _emit_binary(instruction):
    def emit_binary(emit, a, b):
        apply = getattr(emit.builder, instruction)
        return emit.build(lambda r, c: apply(emit.part(a, r, c), emit.part(b, r, c)))

    return emit_binary


for _sign, _instruction in (("add", "fadd"), ("sub", "fsub"), ("mul", "fmul")):
    tiled(_emit_binary(_instruction), arguments=(Tile, Tile))(getattr(operator, _sign))


def _emit_fused(emit, *tiles):
    return emit.build(lambda r, c: emit.fma(*(emit.part(tile, r, c) for tile in tiles)))


@tiled(_emit_fused)
def fused(a, b, c):
    """Return a * b + c."""
    return a * b + c


def _emit_sums(emit, tile, array):
    """As many vectors as lanes are folded into one that holds their sums, two by two."""
    count = emit.rows * emit.cols
    vectors = [emit.builder.extract_value(tile, k) for k in range(count)]
    vectors += [emit.vectors([0.0] * LANES)] * (-count % LANES)
    width = LANES
    while width > 1:
        # The halves of each group of `width` lanes are added; the first vector's groups come first.
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
def sums(tile, array):
    """Write the sum over the lanes of row r, column c to array[r * cols + c].

    The lanes are added in halves: 16 to 8, to 4, to 2, to 1. What follows in `array`, up
    to a multiple of 16 numbers, is overwritten.
    """
    while tile.shape[-1] > 1:
        half = tile.shape[-1] // 2
        tile = tile[..., :half] + tile[..., half:]
    array[: tile.size] = tile.reshape(-1)


def _emit_turned(emit, tile):
    """Blocks of 8, 4, 2 and 1 lanes change places across the diagonal of their group."""
    rows = [emit.part(tile, r, 0) for r in range(LANES)]
    width = LANES // 2
    while width:
        for r in [r for r in range(LANES) if not r & width]:
            one, other = rows[r], rows[r + width]
            low = [k if not k & width else LANES + k - width for k in range(LANES)]
            rows[r] = emit.shuffle(one, other, low)
            rows[r + width] = emit.shuffle(one, other, [k + width for k in low])
        width //= 2
    return emit.build(lambda r, c: rows[r])


@tiled(_emit_turned)
def turned(tile):
    """Return the transpose of a tile of 16 rows and 1 column: lane k of row r goes to row k."""
    return np.ascontiguousarray(tile[:, 0].T)[:, None]


def _emit_item(emit, table, i):
    return emit.item(0, table, i)


def _int64(*given):
    return types.int64


@tiled(_emit_item, _int64)
def item(table, i):
    """Return table[i] of an int64 table; i is not negative."""
    return table[i]
