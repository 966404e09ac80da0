"""Kernels compiled for AVX2, which has other tiles: the same bits, equal to the twins."""

import numpy as np

from fedmpi.kernels import (
    batch_last,
    conv,
    kept,
    lanes,
    lists,
    moves,
    owner,
    pack,
    select,
    sums,
    tables,
    update,
)
from tests.conftest import COMPILED
from tests.kernels.test_conv import correlate_case, mix_case
from tests.naive import conv as naive

AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
CHILD = """
import sys
import numpy as np
from tests.kernels.test_narrow_registers import computed
np.savez(sys.argv[1], **computed())
"""
DENSITIES = (0.0, 0.01, 0.3, 0.9, 1.0)
ROWS = (1, 2, 5, 9)  # so that tiles of all heights are seen
ENDS = [[0, 16, 10], [0, 9, 7], [3, 0, 50]]  # runs whose last vectors are not full
CHANNELS = 70  # with 3 taps each: more terms than are added in one go with AVX2 alone


def computed():
    """Return the width of registers and the outputs of kernels, by name."""
    found = {"width": np.array(lanes.WIDTH)}
    for rows in ROWS:
        rng = np.random.default_rng(rows)
        found |= sums_over_taps(rng, rows)
        memory, x = np.zeros(40 * 32, np.float32), rng.standard_normal((50, 20 + rows))
        places, index = np.arange(20 + rows) * 32, rng.integers(0, 50, 32)
        batch_last.enter(memory, places, x.astype(np.float32), index, 32)
        found[f"enter {rows}"] = memory.copy()
        batch_last.transpose(memory, 640, 0, 15 + rows, 16, 40)
        found[f"transpose {rows}"] = memory
    values = np.random.default_rng(8).standard_normal(1000).astype(np.float32)
    values *= np.float32(2) ** np.linspace(-50, 15, 1000).astype(np.float32)
    for units in (1000, 1):
        found[f"sum of {units} units"] = total = np.zeros(1000, np.int64)
        starts = np.linspace(0, 1000, units + 1).astype(np.int64)
        sums.add_exact(total, starts, np.ones(units, np.uint8), values, 0.3)
    for density in DENSITIES:
        flags = (np.random.default_rng(7).random(1000) < density).astype(np.uint8)
        found |= {f"{name} at {density}": array for name, array in supported(flags).items()}
    lists_of = {f"below {gap}": np.random.default_rng(gap).integers(1, gap, 700)
                for gap in (2, 90, 300, 9000, 90_000)}  # varints of one byte, of one or two, ...
    lists_of |= {f"of {gap} in turn with 1 or 2": np.resize([gap, gap, gap, gap, 1, gap, 2], 700)
                 for gap in (128, 129, 8192, 8193, 16_384, 16_385)}  # both sides of each limit
    for name, gaps in lists_of.items():
        places = gaps.cumsum().astype("u4")
        stream, back = np.zeros(lists.varint_size(places), "u1"), np.zeros(700, "u4")
        lists.encode_varint(places, stream)
        lists.decode_varint(stream, 2**32, back)
        np.testing.assert_array_equal(back, places)
        found[f"varints of gaps {name}"] = stream
    return found


def sums_over_taps(rng, rows):
    """Return the outputs of kernels for convolutions, by name."""
    found = {}
    for size in (112, 50):
        out, src, weights, parts = mix_case(rng, rows, size, CHANNELS)
        conv.mix(out, src, weights, tables.mix_table(*parts), 1, 0.0, 0)
        found[f"mix {rows} of {size}"] = out
    for runs, name in ((ENDS, f"correlate {rows} of any lanes"), (None, f"correlate {rows}")):
        out, left, right, parts = correlate_case(rng, rows, 13, runs)
        mask = np.ones(out.size, np.uint8)
        conv.correlate(out, left, right, tables.correlate_table(*parts))
        found[name] = out.copy()
        kept.correlate(out, left, right, kept.correlate_table(mask, *parts))
        found[f"kept {name}"] = out
    return found


def supported(flags):
    """Return the outputs of kernels for a support and for values on it, by name."""
    values = np.random.default_rng(8).standard_normal(flags.size).astype(np.float32)
    kept, runs = pack.count(flags)
    bits, places, edges = np.zeros(128, "u1"), np.zeros(kept, "u4"), np.zeros(2 * runs, "u4")
    pack.to_bits(flags, bits[:125])
    pack.positions(flags, places)
    pack.edges(flags, edges)
    listed, packed, back = np.zeros(kept, "u4"), np.zeros(kept, "u4"), np.ones(flags.size, "u4")
    pack.bit_positions(bits.view(np.uint64), 0, listed)
    moves.compress(values.view(np.uint32), flags, packed)
    moves.expand(packed, flags, back)
    chosen, picked = np.zeros(kept, "u4"), np.zeros(kept, "f4")
    select.top(values, chosen, picked)
    total, touched = np.zeros(960, np.int64), np.ones(960, np.uint8)
    terms = np.arange(960)[None] * flags[:960]
    owner.dense(total, total[:0], touched, 0, 960, terms, terms, flags[None, :960].view(np.uint64))
    names = "positions", "edges", "bit_positions", "compress", "expand", "top", "dense", "touched"
    return dict(zip(names, (places, edges, listed, packed, back, chosen, total, touched)))


def masked_stores():
    """Return the names of kernels that are compiled to stores by masks, of those that could be."""
    flat, flags, edges = np.zeros(16, "f4"), np.ones(16, "u1"), np.array([0, 16], "u4")
    update.sgd(flat, flat, flat, flat, flags, edges, 0.1, 0.9, 0.0, 0.0)
    update.adam(flat, flat, flat, flat, flat, flags, 0.1, 0.0, 0.0, 1)
    batch_last.measure(np.zeros(1), flat, np.zeros(1, np.int64), 16, np.ones(256, "f4"), 0.0)
    places = np.zeros(16, "u4")
    pack.positions(flags, places)
    moves.compress(places, flags, places.copy())
    owner._marked(np.zeros(8, "u8"), 0, 64, places)
    kernels = update.sgd, update.adam, batch_last.measure, pack.positions, moves.compress
    asm = {one.__name__: "".join(one.inspect_asm().values()) for one in (*kernels, owner._marked)}
    assert all("ymm" in text for text in asm.values())
    return [name for name, text in asm.items() if "maskmov" in text]


def test_nothing_is_stored_by_masks_with_avx2(run_python, tmp_path):
    """Processors of AMD need 20 cycles for a store of this kind."""
    code = "from tests.kernels.test_narrow_registers import masked_stores as f; print(f())"
    # Kernels that are loaded from a cache show no code.
    env = AVX2 | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": "0"}
    done = run_python("-c", code, **env)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_registers_of_avx2_give_the_bits_of_those_here_and_what_the_twins_give(
    run_python, tmp_path
):
    done = run_python("-c", CHILD, str(tmp_path / "found.npz"), **AVX2, **COMPILED)
    assert done.returncode == 0, done.stderr
    found, here = np.load(tmp_path / "found.npz"), computed()
    assert found["width"] == 8
    for name in sorted(set(here) - {"width"}):
        np.testing.assert_array_equal(found[name], here[name], err_msg=name)
    for rows in ROWS:
        rng = np.random.default_rng(rows)
        for size in (112, 50):
            out, src, weights, parts = mix_case(rng, rows, size, CHANNELS)
            naive.mix(out, src, weights, parts, 1, 0.0, 0)
            mixed = found[f"mix {rows} of {size}"]
            np.testing.assert_allclose(mixed, out, rtol=1e-5, atol=1e-4)
        for runs, name in ((ENDS, f"correlate {rows} of any lanes"), (None, f"correlate {rows}")):
            out, left, right, parts = correlate_case(rng, rows, 13, runs)
            naive.correlate(out, left, right, parts)
            np.testing.assert_allclose(found[name], out, rtol=1e-5, atol=1e-4)
