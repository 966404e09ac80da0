"""The list kernels against their naive twins, on whole vectors and on ranges that cut units."""

import numpy as np
import pytest

from fedmpi.kernels import merge
from tests.naive import merge as naive

STARTS = {
    "coordinates": lambda n: np.zeros(0, np.int64),
    "one unit": lambda n: np.array([0, n]),
    "units": lambda n: np.unique(np.array([0, n // 5, n // 3, n // 3 + 1, n // 2, n])),
    "many units": lambda n: np.unique(np.append(np.arange(0, n, max(n // 30, 1)), n)),
}
RANGES = [(0, 1), (0.1, 0.4), (0.35, 0.9), (0.5, 0.5)]


def case(rng, size, units, density=0.4, kind=np.int64, covered=True):
    """Return (total, cover, touched, starts), zero where not touched."""
    starts = STARTS[units](size)
    count = starts.size - 1 if starts.size else size
    touched = (rng.random(count) < density).astype(np.uint8)
    mask = np.repeat(touched, np.diff(starts)) if starts.size else touched
    total = (rng.integers(-9, 9, size) * mask).astype(kind)
    cover = (rng.integers(1, 9, count) * touched).astype(kind)
    return total, cover if covered else cover[:0], touched, starts


def listed(module, total, cover, touched, starts, lo, hi):
    """Return (units, values, weights) of the coordinates lo..hi-1."""
    first, last = module.span(starts, lo, hi)
    units = (first + np.flatnonzero(touched[first:last])).astype(np.uint32)
    values = np.empty(module.extent(starts, lo, hi, units), total.dtype)
    weights = np.empty(units.size if cover.size else 0, cover.dtype)
    module.take(total, cover, starts, lo, hi, units, values, weights)
    return units, values, weights


@pytest.mark.parametrize("covered", [True, False])
@pytest.mark.parametrize("part", RANGES)
@pytest.mark.parametrize("units", STARTS)
@pytest.mark.parametrize("size", [10, 203])
def test_take_drop_and_add_equal_their_twins(rng, size, units, part, covered):
    lo, hi = int(part[0] * size), int(part[1] * size)
    got = case(rng, size, units, covered=covered)
    want = tuple(array.copy() for array in got)
    lists = listed(merge, *got, lo, hi)
    for mine, theirs in zip(lists, listed(naive, *want, lo, hi), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for step, fresh in (("drop", 0), ("add_list", 0), ("add_list", 0), ("add_list", 1)):
        given = (lists[0][::2],) if step == "drop" else (*lists, bool(fresh))
        getattr(merge, step)(*got, lo, hi, *given)
        getattr(naive, step)(*want, lo, hi, *given)
        for mine, theirs in zip(got, want, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("kind", [np.int64, np.float32])
@pytest.mark.parametrize("units", STARTS)
def test_a_list_that_is_dropped_and_added_gives_the_vector_back(rng, units, kind):
    vector = case(rng, 150, units, kind=kind)
    before = tuple(array.copy() for array in vector)
    lists = listed(merge, *vector, 0, 150)
    merge.drop(*vector, 0, 150, lists[0])
    assert not any(array.any() for array in vector[:3])
    merge.add_list(*vector, 0, 150, *lists, False)
    for got, want in zip(vector, before, strict=True):
        np.testing.assert_array_equal(got, want)


def test_one_weight_serves_all_units(rng):
    total, cover, touched, starts = case(rng, 60, "coordinates")
    units, values, _ = listed(merge, total, cover, touched, starts, 0, 60)
    before = cover.copy()
    merge.add_list(total, cover, touched, starts, 0, 60, units, values, np.array([5]), False)
    np.testing.assert_array_equal(cover - before, 5 * touched)


@pytest.mark.parametrize("size", [1, 31, 32, 100])
def test_fingerprints_of_marks_that_differ_in_one_unit_differ(rng, size):
    marks = (rng.random(size) < 0.5).astype(np.uint8)
    seen = set()
    for change in range(-1, size):
        changed = marks.copy()
        if change >= 0:
            changed[change] ^= 1
        out = np.zeros(4, np.uint64)
        merge.fingerprint(changed, out)
        seen.add(tuple(out.tolist()))
        want = out.copy()
        naive.fingerprint(changed, want)
        np.testing.assert_array_equal(out, want)
    assert len(seen) == size + 1


@pytest.mark.parametrize("units", STARTS)
def test_copies_of_touched_units_equal_their_twin(rng, units):
    density = {"coordinates": 0.04, "one unit": 1.0, "units": 0.5, "many units": 0.5}[units]
    total, _, touched, starts = case(rng, 93, units, density)
    before, (got, want) = total.copy(), np.full((2, 100), 7, np.int64)
    merge.copy(total, touched, starts, got)
    np.testing.assert_array_equal(total, before)
    naive.copy(total, touched, starts, want)
    if units == "coordinates":  # beside a touched one there are zeros, which are copied with it
        near = np.repeat(touched[:88].reshape(11, 8).any(1), 8)
        want[:88][near & (touched[:88] == 0)], want[88:93] = 0, total[88:]
        assert 0 < near.sum() < 88
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("density", [0.1, 0.4])
@pytest.mark.parametrize("covered", [True, False])
@pytest.mark.parametrize("units", STARTS)
def test_clearing_equals_its_twin_and_leaves_nothing(rng, units, covered, density):
    got = case(rng, 93, units, density, np.float32, covered)
    if units == "coordinates":  # of eight, the first alone is touched
        for array in (array for array in got[:3] if array.size):
            array[8:16] = 1, 0, 0, 0, 0, 0, 0, 0
    want = tuple(array.copy() for array in got)
    merge.clear(*got)
    naive.clear(*want)
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not any(array.any() for array in got[:3])
