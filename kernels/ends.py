"""The ends of runs of lanes, where only some lanes of a tile's last vectors count.

Like the functions of `kernels.lanes`, each is written twice. Lanes that do not count may hold
anything, also NaN, when they are read, and they are not written.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from fedmpi.kernels._tile import I64, LANES, Emit, tiled


def _emit_below(emit: Emit, tile: ir.Value, count: ir.Value) -> ir.Value:
    one, zero = emit.vectors([1.0] * LANES), emit.vectors([0.0] * LANES)
    cols = [emit.below(count, LANES * c) for c in range(emit.cols)]
    return emit.build(lambda r, c: emit.builder.select(cols[c], one, zero))


@tiled(_emit_below)
def below(tile: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return a tile like `tile` with 1 where 16 c + lane < count, and 0 elsewhere."""
    held = np.arange(tile[0].size) < count
    return np.broadcast_to(held.astype(np.float32).reshape(tile.shape[1:]), tile.shape)


def _emit_store(
    emit: Emit, tile: ir.Value, count: ir.Value, array: ir.Value, places: ir.Value, i: ir.Value,
    at: ir.Value,
) -> ir.Value:
    rows = [emit.pointer(2, array, emit.place(3, places, i, r), at) for r in range(emit.rows)]
    for c in range(emit.cols):
        emit.store_below(count, [emit.part(tile, r, c) for r in range(emit.rows)], rows, c)
    return emit.context.get_dummy_value()


@tiled(_emit_store, lambda *given: types.none)
def store(
    tile: NDArray[np.float32], count: int, array: NDArray[np.float32], places: NDArray[np.int64],
    i: int, at: int,
) -> None:
    """Write the lanes with 16 c + lane < count to array[places[i + r] + at + 16 c + lane]."""
    for row, place in enumerate(places[i : i + len(tile)]):
        held = tile[row].reshape(-1)[: max(count, 0)]
        array[place + at : place + at + held.size] = held


def _emit_inner(
    emit: Emit, tile: ir.Value, size: ir.Value, left: ir.Value, places: ir.Value, i: ir.Value,
    at: ir.Value, right: ir.Value, columns: ir.Value, j: ir.Value, start: ir.Value,
) -> ir.Value:
    """In long runs, load the last 16 lanes, of which the first count for nothing.

    There only the rows are cleared: no NaN meets these zeros that is not added in any case.
    """
    b, zero = emit.builder, emit.vectors([0.0] * LANES)
    rows = [emit.pointer(2, left, emit.place(3, places, i, r), at) for r in range(emit.rows)]
    cols = [emit.pointer(6, right, emit.place(7, columns, j, c), start) for c in range(emit.cols)]

    def added(lines: list[ir.Value], others: list[ir.Value]) -> tuple[list[ir.Value], ir.Block]:
        pairs = [(r, c) for r in range(emit.rows) for c in range(emit.cols)]
        parts = [emit.fma(lines[r], others[c], emit.part(tile, r, c)) for r, c in pairs]
        return parts, b.block

    with b.if_else(b.icmp_signed("<", size, I64(LANES))) as (short, long):
        with short:
            held = emit.below(size)
            one = added(*([b.select(held, emit.load(x), zero) for x in xs] for xs in (rows, cols)))
        with long:
            back = b.sub(size, I64(LANES))
            seen = emit.below(b.sub(I64(LANES), b.and_(size, I64(LANES - 1))))
            lines = [b.select(seen, zero, emit.load(b.gep(row, [back]))) for row in rows]
            two = added(lines, [emit.load(b.gep(col, [back])) for col in cols])

    found = [b.phi(emit.vectors) for _ in one[0]]
    for parts, block in (one, two):
        for phi, part in zip(found, parts, strict=True):
            phi.add_incoming(part, block)
    return emit.build(lambda r, c: found[r * emit.cols + c])


@tiled(_emit_inner)
def inner(
    tile: NDArray[np.float32], size: int, left: NDArray[np.float32], places: NDArray[np.int64],
    i: int, at: int, right: NDArray[np.float32], columns: NDArray[np.int64], j: int, start: int,
) -> NDArray[np.float32]:
    """Return `lanes.inner` for the end of a run: the last size % 16 of its `size` lanes.

    `at` and `start` are the beginning of the run. Lane n of a vector adds to lane n of the tile if
    the run has fewer than 16 lanes; otherwise the run's last lane adds to the tile's last one.
    """
    rest, rows = size % LANES, tile.shape[1]
    first = 0 if size < LANES else LANES - rest
    where = slice(size - rest, size)
    lines = np.array([left[p + at :][where] for p in places[i : i + len(tile)]])
    others = np.array([right[p + start :][where] for p in columns[j : j + rows]])
    added = tile.copy()
    added[:, :, first : first + rest] += lines[:, None] * others
    return added
