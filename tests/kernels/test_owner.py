"""The owners' sums against their naive twins, range by range and round after round."""

import numpy as np
import pytest

from fedmpi.kernels import owner
from tests.naive import owner as naive

KINDS = [(np.int64, np.int64), (np.float32, np.float32), (np.float32, np.int64)]
SCALES = np.array([1.0, 2.0**20, 0.37])
RANKS = SCALES.size


def contributions(rng, size, units, density, kind):
    """Return (sums, marks): zero where a unit is not marked."""
    starts = np.arange(size + 1) if units is None else units
    marks = (rng.random((RANKS, starts.size - 1)) < density).astype(np.uint8)
    sums = rng.integers(-99, 99, (RANKS, size)) * np.repeat(marks, np.diff(starts), axis=1)
    return sums.astype(kind), marks


def result(size, units, dtype, covered):
    """Return (total, cover, touched) of nothing."""
    return (
        np.zeros(size, dtype),
        np.zeros(units if covered else 0, dtype),
        np.zeros(units, np.uint8),
    )


@pytest.mark.parametrize("ranks", [[0, 1, 2], [2]])
@pytest.mark.parametrize("covered", [True, False])
@pytest.mark.parametrize(("kind", "dtype"), KINDS)
def test_dense_equals_its_twin(rng, kind, dtype, covered, ranks):
    ranks = np.array(ranks)
    got, want = result(192, 192, dtype, covered), result(192, 192, dtype, covered)
    for density in (1.0, 0.3, 0.0, 0.02):
        sums, marks = contributions(rng, 192, None, density, kind)
        covers = marks.astype(dtype) * 3
        for lo, hi in ((0, 64), (64, 192)):
            rest = lo, hi, ranks, sums, covers, marks.view(np.uint64), SCALES
            assert owner.dense(*got, *rest) == naive.dense(*want, *rest)
        for mine, theirs in zip(got, want, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("cuts", [[], [50], [1, 2, 3, 90], [64, 128]])
@pytest.mark.parametrize(("kind", "dtype"), KINDS)
def test_blocks_equal_their_twin(rng, kind, dtype, cuts):
    starts = np.array([0, *cuts, 192])
    units = starts.size - 1
    got, want = result(192, units, dtype, True), result(192, units, dtype, True)
    for density in (1.0, 0.5, 0.0, 0.3):
        sums, marks = contributions(rng, 192, starts, density, kind)
        seen, covers = got[2].copy(), marks.astype(dtype) * 3
        for lo, hi in ((0, 40), (40, 41), (41, 192)):
            rest = starts, lo, hi, sums, covers, marks, SCALES, seen
            assert owner.blocks(*got, *rest) == naive.blocks(*want, *rest)
        for mine, theirs in zip(got, want, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("covered", [1, 192, 0])
@pytest.mark.parametrize(("kind", "dtype"), KINDS)
def test_lists_equal_their_twin(rng, kind, dtype, covered, listed):
    got, want = result(192, 192, dtype, covered), result(192, 192, dtype, covered)
    weights = rng.integers(1, 9, (RANKS, covered)).astype(dtype)
    for density in (0.9, 0.1, 0.0):
        sums, marks = contributions(rng, 192, None, density, kind)
        counts = marks.sum(1).astype(np.int64)
        units, values = np.zeros((RANKS, 192), np.uint32), np.zeros((RANKS, 192), kind)
        for r in range(RANKS):
            units[r, : counts[r]] = np.flatnonzero(marks[r])
            values[r, : counts[r]] = sums[r, marks[r] != 0]
        for lo, hi in ((0, 64), (64, 192)):
            fresh = np.zeros(hi - lo + 1 if listed else 0, np.uint32)
            rest = lo, hi, counts, units, values, SCALES, weights, True, fresh
            found = owner.lists(*got, *rest)
            assert found == naive.lists(*want, *rest)
            if listed:
                hit = lo + np.flatnonzero(marks[:, lo:hi].any(0))
                np.testing.assert_array_equal(np.sort(fresh[:found]), hit)
        for mine, theirs in zip(got, want, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_forget_clears_what_is_listed_and_nothing_else(rng):
    got = [np.ones(30, kind) for kind in (np.int64, np.int64, np.uint8)]
    want = [array.copy() for array in got]
    fresh = np.array([0, 29, 7], np.uint32)
    owner.forget(*got, fresh)
    naive.forget(*want, fresh)
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_array_equal(mine, theirs)
