"""Arms of the wire formats: supports, whole units, lists of positions, 16-bit values."""

from collections.abc import Callable

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Octets, Vector
from fedmpi.bench.arms import Arm
from fedmpi.rng import rng_for

ROW = 250  # coordinates of a row
ROWS = 0.3  # share of the rows that are kept


def supports(size: int, density: float) -> list[Arm]:
    """Return the arms of operations on flags: count, list positions, and mark them again."""
    pack, label = kernels.pack, f"at {100 * density:g} %"
    flags = (rng_for(0, "bench supports").random(size) < density).astype(np.uint8)
    kept, held = int(pack.count(flags)[0]), flags.view(bool)
    bits, back = np.empty((size + 7) // 8, np.uint8), np.empty_like(flags)
    positions = np.empty(kept, np.uint32)
    pack.to_bits(flags, bits)
    pack.positions(flags, positions)
    moved = size + 4 * kept

    def list_positions() -> None:
        pack.positions(flags, positions)

    return [
        Arm(f"count {label}", size, size, lambda: pack.count(flags), flags.sum),
        Arm(f"positions {label}", size, moved, list_positions, lambda: np.flatnonzero(held)),
        Arm(f"mark {label}", size, moved, lambda: pack.mark(positions, back)),
    ]


def bitmaps(size: int, density: float) -> list[Arm]:
    """Return the arms of the formats for flags with their values: packed and bitmap."""
    rng, pack, moves = rng_for(0, "bench bitmaps"), kernels.pack, kernels.moves
    flags = (rng.random(size) < density).astype(np.uint8)
    values = rng.standard_normal(size, np.float32).view(np.uint32)
    bits, back, held = np.empty((size + 7) // 8, np.uint8), np.empty_like(flags), flags.view(bool)
    packed, wide = np.empty(np.count_nonzero(flags), np.uint32), np.empty(size, np.uint32)
    known = 5 * size + 4 * packed.size  # flags, all values, and values moved
    stated, label = known + size / 8, f"at {100 * density:g} %"

    def encode_packed() -> None:
        moves.compress(values, flags, packed)

    def encode_bitmap() -> None:
        pack.to_bits(flags, bits)
        moves.compress(values, flags, packed)

    def decode_bitmap() -> None:
        pack.from_bits(bits, back)
        moves.expand(packed, back, wide)

    def numpy_bitmap() -> tuple[Octets, AnyArray]:
        return np.packbits(flags, bitorder="little"), values[held]

    encode_bitmap()
    return [
        Arm(f"packed encode {label}", size, known, encode_packed, lambda: values[held]),
        Arm(f"packed decode {label}", size, known, lambda: moves.expand(packed, flags, wide)),
        Arm(f"bitmap encode {label}", size, stated, encode_bitmap, numpy_bitmap),
        Arm(f"bitmap decode {label}", size, stated, decode_bitmap),
    ]


def blocks(size: int) -> list[Arm]:
    """Return the arms of whole units: dense, rows (one flag for a row) and runs of rows."""
    rng, pack, moves, lists = rng_for(0, "bench blocks"), kernels.pack, kernels.moves, kernels.lists
    starts = np.append(np.arange(0, size, ROW), size)
    rows_ = (rng.random(starts.size - 1) < ROWS).astype(np.uint8)
    flags = np.repeat(rows_, np.diff(starts))
    values, wide = rng.standard_normal((2, size), np.float32).view(np.uint32)
    packed, back = np.empty(np.count_nonzero(flags), np.uint32), np.empty_like(flags)
    edges = np.empty(2 * pack.count(flags)[1], np.uint32)
    pack.edges(flags, edges)
    stream = np.empty(lists.varint_size(edges), np.uint8)
    held = flags.view(bool)

    def encode_runs() -> None:
        pack.edges(flags, edges)
        lists.encode_varint(edges, stream)

    def decode_runs() -> None:
        lists.decode_varint(stream, size + 1, edges)
        pack.fill(edges, back)

    return [
        Arm("dense encode", size, 8 * size, lambda: np.copyto(wide, values)),
        Arm(
            "rows encode",
            packed.size,
            8 * packed.size,
            lambda: moves.gather(values, starts, rows_, packed),
            lambda: values[held],
        ),
        Arm(
            "rows decode",
            size,
            4 * size + 4 * packed.size,
            lambda: moves.scatter(packed, starts, rows_, wide),
        ),
        Arm("runs encode", size, size + stream.size, encode_runs),
        Arm("runs decode", size, size + stream.size, decode_runs),
    ]


def positions(count: int, density: float) -> list[Arm]:
    """Return the arms of the formats for `count` sorted positions with their values."""
    rng, lists = rng_for(0, "bench positions"), kernels.lists
    indices = np.cumsum(rng.geometric(density, count)).astype(np.uint32)
    size, label = int(indices[-1]) + 1, f"at {100 * density:g} %"
    values, moved = rng.standard_normal((2, count), np.float32)
    back, words = np.empty_like(indices), indices.copy()
    varints = np.empty(lists.varint_size(indices), np.uint8)
    halves = np.empty(2 * -(-size // lists.BLOCK) + count, np.uint16)
    lists.encode_varint(indices, varints)
    lists.encode_idx16(indices, size, halves)

    def check_words() -> None:
        np.copyto(back, words)
        lists.check(back, size)

    index = {
        "idx32 encode": (8, lambda: np.copyto(words, indices)),
        "idx32 decode": (8, check_words),
        "idx16 encode": (6, lambda: lists.encode_idx16(indices, size, halves)),
        "idx16 decode": (6, lambda: lists.decode_idx16(halves, size, back)),
        "varint encode": (
            4 + varints.size / count,
            lambda: (lists.varint_size(indices), lists.encode_varint(indices, varints)),
        ),
        "varint decode": (
            4 + varints.size / count,
            lambda: lists.decode_varint(varints, size, back),
        ),
    }

    return [
        Arm(f"{name} {label}", count, (each + 8) * count, _then(run, values, moved))
        for name, (each, run) in index.items()
    ] + [
        Arm(f"{name}, positions only {label}", count, each * count, run)
        for name, (each, run) in index.items()
    ]


def sixteen_bits(size: int) -> list[Arm]:
    """Return the arms of 16-bit values."""
    values = rng_for(0, "bench 16 bits").standard_normal(size, np.float32)
    halves, wide, run = np.empty(size, np.uint16), np.empty(size, np.float32), kernels.halves
    bits, halves_of_numpy = values.view(np.uint32), values.astype(np.float16)
    words = wide.view(np.uint32)
    return [
        Arm(
            "to float16",
            size,
            6 * size,
            lambda: run.to_float16(bits, halves),
            lambda: values.astype(np.float16),
        ),
        Arm(
            "from float16",
            size,
            6 * size,
            lambda: run.from_float16(halves, wide),
            lambda: halves_of_numpy.astype(np.float32),
        ),
        Arm("to bfloat16", size, 6 * size, lambda: run.to_bfloat16(bits, halves)),
        Arm("from bfloat16", size, 6 * size, lambda: run.from_bfloat16(halves, words)),
    ]


def _then(run: Callable[[], object], values: Vector, moved: Vector) -> Callable[[], None]:
    """Return a function that calls `run` and copies float32[k] `values` to `moved`."""

    def once() -> None:
        run()
        np.copyto(moved, values)

    return once
