"""Supports and values as bytes: equal to their naive twins, and back again."""

import os

import numpy as np
import pytest
from numba import TypingError

from fedmpi import kernels
from tests import naive
from tests.naive import halves, moves, pack  # noqa: F401  (fill tests.naive)

SIZES = [0, 1, 7, 8, 9, 15, 17, 31, 33, 63, 64, 65, 127, 128, 200, 1000, 9000]
DENSITIES = [0.0, 0.003, 0.05, 0.3, 0.7, 0.97, 1.0]


def flags_of(rng, size, density, clustered=False):
    """Return uint8[size]; `clustered` flags come in runs."""
    if clustered:
        density = np.repeat(rng.random(size // 40 + 1) < density, 40)[:size]
    return (rng.random(size) < density).astype(np.uint8)


def words(rng, size):
    """Return uint32[size] with any bits: as float32 they are NaN, -0 and all the rest."""
    return rng.integers(0, 2**32, size, np.uint32)


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("size", SIZES)
def test_flags_equal_their_naive_twins_in_every_form(rng, size, density, clustered):
    flags = flags_of(rng, size, density, clustered)
    kept, runs = kernels.pack.count(flags)
    assert (kept, runs) == naive.pack.count(flags)
    for name, shape, dtype in [
        ("to_bits", (size + 7) // 8, np.uint8),
        ("positions", kept, np.uint32),
        ("edges", 2 * runs, np.uint32),
    ]:
        got, want = np.full((2, shape + 80), 99, dtype)  # nothing is written behind their ends
        getattr(kernels.pack, name)(flags, got[:shape])
        getattr(naive.pack, name)(flags, want[:shape])
        np.testing.assert_array_equal(got, want, name)
        back = np.full(size + 80, 99, np.uint8)
        inverse = {"to_bits": "from_bits", "positions": "mark", "edges": "fill"}[name]
        getattr(kernels.pack, inverse)(got[:shape], back[:size])
        np.testing.assert_array_equal(back[:size], flags, inverse)
        assert (back[size:] == 99).all(), inverse


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("size", SIZES)
def test_bits_in_words_are_counted_listed_and_set(rng, size, density):
    flags = flags_of(rng, size, density)
    bits = np.zeros(-(-size // 64) * 8, np.uint8)
    kernels.pack.to_bits(flags, bits[: (size + 7) // 8])
    for width, bins in ((1, size // 64 + 3), (4, size // 256 + 1)):
        got, want = np.full((2, bins), 99, np.int64)
        kernels.pack.bit_counts(bits.view(np.uint64), width, got)
        naive.pack.bit_counts(bits.view(np.uint64), width, want)
        np.testing.assert_array_equal(got, want)
        assert got.sum() == np.count_nonzero(flags)
        few, counted = np.full((2, bins // 2), 99, np.int64)
        kernels.pack.bit_counts(bits.view(np.uint64), width, few)
        naive.pack.bit_counts(bits.view(np.uint64), width, counted)
        np.testing.assert_array_equal(few, counted)
    kept = np.count_nonzero(flags)
    listed, want = np.full((2, kept + 80), 99, np.uint32)
    got, want = listed[:kept], want[:kept]
    kernels.pack.bit_positions(bits.view(np.uint64), 128, got)
    naive.pack.bit_positions(bits.view(np.uint64), 128, want)
    np.testing.assert_array_equal(got, want)
    assert (listed[kept:] == 99).all()
    np.testing.assert_array_equal(got - 128, np.flatnonzero(flags))
    back = rng.integers(0, 2**64, bits.size // 8, np.uint64)
    there = back.copy()
    kernels.pack.set_bits(got - 128, back)
    naive.pack.set_bits(want - 128, there)
    np.testing.assert_array_equal(back, there)
    np.testing.assert_array_equal(back & bits.view(np.uint64), bits.view(np.uint64))


def test_many_full_words_are_listed():
    got = np.empty(64 * 1100, np.uint32)
    kernels.pack.bit_positions(np.full(1100, 2**64 - 1, np.uint64), 5, got)
    np.testing.assert_array_equal(got, np.arange(got.size) + 5)


def test_any_flag_that_is_not_zero_counts():
    flags = np.array([0, 1, 2, 255, 0, 128] * 30, np.uint8)
    bits = np.empty(23, np.uint8)
    kernels.pack.to_bits(flags, bits)
    assert kernels.pack.count(flags)[0] == np.unpackbits(bits).sum() == 120


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("size", SIZES)
def test_values_move_bit_by_bit_and_come_back(rng, size, density):
    values, flags = words(rng, size), flags_of(rng, size, density)
    count = np.count_nonzero(flags)
    got, want = np.full((2, count + 32), 77, np.uint32)  # nothing is written behind their ends
    kernels.moves.compress(values, flags, got[:count])
    naive.moves.compress(values, flags, want[:count])
    np.testing.assert_array_equal(got, want)
    back, there = np.full((2, size + 32), 99, np.uint32)
    kernels.moves.expand(got[:count], flags, back[:size])
    naive.moves.expand(want[:count], flags, there[:size])
    np.testing.assert_array_equal(back, there)


def test_few_values_that_lie_together_move_and_come_back(rng):
    """As many as are listed at once, or nearly, behind and before none."""
    for kept in (2048, 2047, 2049):
        values, flags = words(rng, 40_000), np.zeros(40_000, np.uint8)
        flags[4096 : 4096 + kept] = 1
        packed, back = np.empty(kept, np.uint32), np.full(40_000, 99, np.uint32)
        kernels.moves.compress(values, flags, packed)
        np.testing.assert_array_equal(packed, values[flags != 0])
        kernels.moves.expand(packed, flags, back)
        np.testing.assert_array_equal(back, values * flags)


def test_values_are_not_read_behind_the_last():
    """Of 64 flags at the end all but one are set: 63 values are left, and no vector behind them."""
    flags, packed, back = np.ones(128, "u1"), np.arange(127, dtype="u4"), np.ones(128, "u4")
    flags[120] = 0
    kernels.moves.expand(packed, flags, back)
    np.testing.assert_array_equal(back[flags != 0], packed)
    assert back[120] == 0


@pytest.mark.parametrize("density", DENSITIES)
def test_units_move_as_blocks_and_come_back(rng, density):
    starts = np.concatenate(([0], np.cumsum(rng.integers(0, 40, 50)))).astype(np.int64)
    values, flags = words(rng, starts[-1]), flags_of(rng, 50, density)
    got, want = np.empty((2, int(np.diff(starts)[flags != 0].sum())), np.uint32)
    kernels.moves.gather(values, starts, flags, got)
    naive.moves.gather(values, starts, flags, want)
    np.testing.assert_array_equal(got, want)
    back, there = np.full((2, starts[-1]), 99, np.uint32)
    kernels.moves.scatter(got, starts, flags, back)
    naive.moves.scatter(want, starts, flags, there)
    np.testing.assert_array_equal(back, there)
    other, left = np.full((2, starts[-1]), 99, np.uint32)
    kernels.moves.put(got, starts, flags, other)
    naive.moves.put(want, starts, flags, left)
    np.testing.assert_array_equal(other, left)


def test_bitmaps_of_a_wrong_size_or_with_bits_after_the_end_are_refused():
    flags = np.zeros(10, np.uint8)
    with pytest.raises(ValueError, match="another size"):
        kernels.pack.from_bits(np.zeros(3, np.uint8), flags)
    with pytest.raises(ValueError, match="after its end"):
        kernels.pack.from_bits(np.array([0, 4], np.uint8), flags)
    with pytest.raises(ValueError, match="one byte for each 8"):
        kernels.pack.to_bits(flags, np.zeros(1, np.uint8))


def edge_cases():
    """Return uint32[...]: float32 next to every kind of boundary of the 16-bit types."""
    corners = [0, 1, 0x33000000, 0x33800000, 0x387FE000, 0x38800000, 0x477FE000, 0x477FF000]
    corners += [0x47800000, 0x7F800000, 0x7F7FFFFF, 0x3F800000, 0x00800000, 0x38000000]
    near = np.add.outer(np.array(corners, np.int64), np.arange(-3, 4)).ravel()
    near = near[(near >= 0) & (near <= 0x7F800000)].astype(np.uint32)
    return np.concatenate((near, near | np.uint32(1 << 31)))


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_sixteen_bit_values_round_as_their_naive_twins(rng, kind):
    random = words(rng, 3000)
    ties = (rng.integers(0, 2**19, 500, np.uint32) << np.uint32(13)) + np.uint32(0x1000)
    halfway = [ties << np.uint32(shift) for shift in (0, 1, 3)]  # float16, subnormal, bfloat16
    bits = np.concatenate((edge_cases(), random, *halfway))
    bits = bits[(bits & np.uint32(0x7FFFFFFF)) <= np.uint32(0x7F800000)]
    got, want = np.empty((2, bits.size), np.uint16)
    getattr(kernels.halves, f"to_{kind}")(bits, got)
    getattr(naive.halves, f"to_{kind}")(bits, want)
    np.testing.assert_array_equal(got, want)


def test_every_float16_widens_exactly_and_comes_back():
    halves_ = np.arange(65536, dtype=np.uint16)
    got, want = np.empty((2, halves_.size), np.float32)
    kernels.halves.from_float16(halves_, got)
    naive.halves.from_float16(halves_, want)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(got.view(np.uint32)[number], want.view(np.uint32)[number])
    assert np.isnan(got[~number]).all()
    back = np.empty_like(halves_)
    kernels.halves.to_float16(got.view(np.uint32), back)
    quiet = np.where(number, 0, 0x200).astype(np.uint16)  # a NaN that signals comes back quiet
    np.testing.assert_array_equal(back, halves_ | quiet)


def test_every_bfloat16_widens_exactly_and_comes_back():
    halves_ = np.arange(65536, dtype=np.uint16)
    got, want = np.empty((2, halves_.size), np.uint32)
    kernels.halves.from_bfloat16(halves_, got)
    naive.halves.from_bfloat16(halves_, want)
    np.testing.assert_array_equal(got, want)
    back = np.empty_like(halves_)
    kernels.halves.to_bfloat16(got, back)
    quiet = np.where(np.isnan(got.view(np.float32)), 0x40, 0).astype(np.uint16)
    np.testing.assert_array_equal(back, halves_ | quiet)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_a_nan_stays_a_nan(kind):
    bits = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0x7FC00000], np.uint32)
    out = np.empty(4, np.uint16)
    getattr(kernels.halves, f"to_{kind}")(bits, out)
    infinity = 0x7C00 if kind == "float16" else 0x7F80
    assert (out & 0x7FFF > infinity).all()
    assert (out >> 15 == bits >> 31).all()


@pytest.mark.skipif("NUMBA_DISABLE_JIT" in os.environ, reason="python reads any array")
def test_vectors_are_not_read_from_arrays_with_gaps():
    with pytest.raises(TypingError, match=r"mask64: .* must be contiguous"):
        kernels.pack.count(np.ones(256, np.uint8)[::2])
