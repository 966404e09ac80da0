"""The owners' sums against their naive twins, range by range and round after round."""

import numpy as np
import pytest

from fedmpi.kernels import owner
from tests.naive import owner as naive

KINDS = [np.int64, np.float32]
RANKS = 3


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


@pytest.mark.parametrize(
    ("kind", "covered", "size"),
    [
        *((kind, covered, 192) for kind in KINDS for covered in (True, False)),
        (np.int64, True, owner.BLOCK + 192), (np.float32, False, owner.BLOCK + 192),
    ],
)  # fmt: skip
def test_dense_equals_its_twin(rng, kind, covered, size):
    got, want = result(size, size, kind, covered), result(size, size, kind, covered)
    for array in (*got, *want):
        array[size - 64 :] = 1  # of another owner
    for density in (1.0, 0.3, 0.0, 0.02) if size == 192 else (1.0, 0.002):
        sums, marks = contributions(rng, size, None, density, kind)
        covers = marks.astype(kind) * 3
        for lo, hi in ((64, size - 64), (0, 64)):
            rest = lo, hi, sums, covers, marks.view(np.uint64)
            assert owner.dense(*got, *rest) == naive.dense(*want, *rest)
        for mine, theirs in zip(got, want, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("size", [192, 2 * owner.TILE + 100])
@pytest.mark.parametrize("covered", [True, False])
@pytest.mark.parametrize("cuts", [[], [50], [1, 2, 3, 90], [64, 128]])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_equal_their_twin(rng, kind, cuts, covered, size):
    starts = np.array([0, *cuts, size])
    units = starts.size - 1
    got, want = result(size, units, kind, covered), result(size, units, kind, covered)
    for density in (1.0, 0.5, 0.0, 0.3) if size == 192 else (1.0, 0.0):
        sums, marks = contributions(rng, size, starts, density, kind)
        seen, covers = got[2].copy(), marks.astype(kind) * 3
        for lo, hi in ((41, size), (40, 41), (0, 40)):  # the first owner of a unit comes last
            rest = starts, lo, hi, sums, covers, marks, seen
            assert owner.blocks(*got, *rest) == naive.blocks(*want, *rest)
            for mine, theirs in zip(got, want, strict=True):
                np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_the_last_result_do_not_count(rng, kind):
    starts = np.array([0, 4, 9])
    sums, marks = contributions(rng, 9, starts, 0.7, kind)
    total, cover, touched = result(9, 2, kind, True)
    cover[:] = 5 if kind is np.int64 else np.nan
    covers = marks.astype(kind) * 3
    owner.blocks(total, cover, touched, starts, 0, 9, sums, covers, marks, touched.copy())
    np.testing.assert_array_equal(cover, covers.sum(0))
