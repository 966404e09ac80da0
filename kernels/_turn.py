"""Transposition of square blocks of numbers in registers.

Like the functions of `kernels.lanes`, `turn` is written twice. A block is as wide as a register of
AVX-512 or AVX2, so each line is one register, and the registers hold all lines of a block at once.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from fedmpi.kernels._tile import I32, WIDTH, Emit, tiled, vectors

SIDE = 16 if WIDTH == 16 else 8  # rows and columns of a block


def _emit_turn(
    emit: Emit, source: ir.Value, rows: ir.Value, i: ir.Value, at: ir.Value, target: ir.Value,
    places: ir.Value, j: ir.Value, to: ir.Value,
) -> ir.Value:
    """Swap neighbours between pairs of lines: one number at a time, then two, four and eight.

    Single numbers and pairs move within groups of four, because processors have an instruction
    for that.
    """
    b, line = emit.builder, vectors(SIDE).as_pointer()
    lines = []
    for k in range(SIDE):
        address = emit.pointer(0, source, emit.place(1, rows, i, k), at)
        lines.append(b.load(b.bitcast(address, line)))
        lines[k].align = 4
    for r in range(0, SIDE, 4):
        one, two = _zipped(b, lines[r], lines[r + 1], [0, SIDE, 1, SIDE + 1])
        three, four = _zipped(b, lines[r + 2], lines[r + 3], [0, SIDE, 1, SIDE + 1])
        lines[r : r + 2] = _zipped(b, one, three, [0, 1, SIDE, SIDE + 1])
        lines[r + 2 : r + 4] = _zipped(b, two, four, [0, 1, SIDE, SIDE + 1])
    width = 4
    while width < SIDE:
        low = [k if not k & width else SIDE + k - width for k in range(SIDE)]
        for r in [r for r in range(SIDE) if not r & width]:
            one, other = lines[r], lines[r + width]
            lines[r] = _shuffled(b, one, other, low)
            lines[r + width] = _shuffled(b, one, other, [k + width for k in low])
        width *= 2
    for k in range(SIDE):
        address = emit.pointer(4, target, emit.place(5, places, j, k), to)
        b.store(lines[k], b.bitcast(address, line)).align = 4
    return emit.context.get_dummy_value()


def _zipped(
    b: ir.IRBuilder, one: ir.Value, other: ir.Value, numbers: list[int]
) -> tuple[ir.Value, ir.Value]:
    """Return two lines: the given numbers of each group of four, and the numbers two further on."""
    fours = range(0, SIDE, 4)
    low = [four + number for four in fours for number in numbers]
    return _shuffled(b, one, other, low), _shuffled(b, one, other, [k + 2 for k in low])


def _shuffled(b: ir.IRBuilder, one: ir.Value, other: ir.Value, numbers: list[int]) -> ir.Value:
    return b.shuffle_vector(one, other, ir.Constant(ir.VectorType(I32, SIDE), numbers))


@tiled(_emit_turn, lambda *given: types.none)
def turn(
    source: NDArray[np.float32], rows: NDArray[np.int64], i: int, at: int,
    target: NDArray[np.float32], places: NDArray[np.int64], j: int, to: int,
) -> None:
    """Write target[places[j + c] + to + r] = source[rows[i + r] + at + c], for r and c < SIDE.

    `source` and `target` are float32[.]. They may be the same array if the blocks that are written
    and read do not overlap. `rows` and `places` are int64[.]. Nothing is bounds-checked.
    """
    block = np.array([source[row + at : row + at + SIDE] for row in rows[i : i + SIDE]])
    for line, place in zip(block.T, places[j : j + SIDE], strict=True):
        target[place + to : place + to + SIDE] = line
