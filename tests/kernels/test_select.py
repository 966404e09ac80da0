"""Selection: equal to a full sort, for any guess from the sample."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedmpi import kernels
from fedmpi.kernels import _radix as radix
from tests import naive
from tests.naive import select  # noqa: F401  (fills tests.naive)

LARGE = 40_000  # more than is taken whole as candidates


def places(count):
    """Return (uint32[count], float32[count]) to be written."""
    return np.full(count, 7, np.uint32), np.full(count, 7, np.float32)


def check_top(values, count):
    """Assert that `top` and `feedback` select the same of `values` as a full sort."""
    want = places(count)
    naive.select.top(values, *want)
    got = places(count)
    kernels.select.top(values, *got)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1].view(np.uint32), want[1].view(np.uint32))


def check_feedback(update, residual, count):
    """Assert that `feedback` does what adding, sorting and clearing do."""
    residuals, got, want = [residual.copy(), residual.copy()], places(count), places(count)
    kernels.select.feedback(update, residuals[0], *got)
    naive.select.feedback(update, residuals[1], *want)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1], want[1])
    np.testing.assert_array_equal(*residuals)


@given(hnp.arrays(np.uint32, st.integers(0, 200)), st.integers(0, 200))
def test_any_bits_are_selected_as_a_full_sort_does(bits, count):
    check_top(bits.view(np.float32), min(count, bits.size))


@pytest.mark.parametrize("count", [0, 1, 5, 63, 64, 150])
def test_feedback_equals_its_naive_twin(rng, count):
    update, residual = rng.standard_normal((2, 150)).astype(np.float32)
    check_feedback(update, residual, count)


def test_feedback_of_an_empty_vector_does_nothing():
    check_feedback(*np.zeros((2, 0), np.float32), 0)


@pytest.mark.parametrize("count", [1, 400, 4000, 39_990])
@pytest.mark.parametrize("kind", ["normal", "equal", "few", "layers", "misleading", "specials"])
def test_large_vectors_are_exact_however_their_values_lie(rng, kind, count):
    values = rng.standard_normal(LARGE).astype(np.float32)
    if kind == "equal":
        values[:] = -2.5
    elif kind == "few":
        values = rng.integers(-2, 3, LARGE).astype(np.float32)
    elif kind == "layers":
        values *= np.repeat(np.float32(10) ** rng.integers(-6, 6, 40).astype(np.float32), 1000)
    elif kind == "misleading":  # the sampled values are small, so the guess is too low, or large
        sampled = (np.arange(LARGE) % (LARGE // 1024)) < 16
        values *= np.where(sampled, 100.0 if count > 1000 else 0.01, 1).astype(np.float32)
    elif kind == "specials":
        values[rng.integers(0, LARGE, 300)] = np.nan
        values[rng.integers(0, LARGE, 300)] = -np.inf
        values[rng.integers(0, LARGE, 300)] = -0.0
    check_top(values, count)
    if kind != "specials":
        check_feedback(values, np.roll(values, 17) * np.float32(0.1), count)


@pytest.mark.parametrize(("begin", "end"), [(0, 0), (0, 64), (64, 199), (3, 70), (130, 193)])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_candidates_are_collected_or_said_to_be_too_many(rng, share, begin, end):
    """For any room beside that which they need, behind two that were there before."""
    values = rng.standard_normal(200).astype(np.float32)
    floor = np.quantile(abs(values), 1 - share).astype(np.float32).view(np.uint32)
    want = naive.select.reaching(values, begin, end, floor)
    for room in {2, 3, *range(max(len(want), 2), len(want) + 5), 300}:
        candidates = np.full(room, 7, np.uint32)
        found = radix.collect(values, begin, end, floor, candidates, 2)
        assert found == min(len(want) + 2, room + 1)
        assert candidates[:2].tolist() == [7, 7]
        if found <= room:
            assert candidates[2:found].tolist() == want


def test_ties_go_to_the_lowest_index_and_nan_before_infinity():
    values = np.array([1, -2, 2, np.inf, np.nan, 2, -np.inf], np.float32)
    for count, chosen in [(1, [4]), (2, [3, 4]), (3, [3, 4, 6]), (4, [1, 3, 4, 6])]:
        indices, picked = places(count)
        kernels.select.top(values, indices, picked)
        assert indices.tolist() == chosen


def test_nothing_is_lost_by_feedback(rng):
    residual = np.zeros(500, np.float32)
    sent, given_ = np.zeros((2, 500))
    for _ in range(20):
        update = rng.integers(-50, 50, 500).astype(np.float32)
        indices, picked = places(5)
        kernels.select.feedback(update, residual, indices, picked)
        sent[indices] += picked
        given_ += update
    np.testing.assert_array_equal(sent + residual, given_)


@pytest.mark.parametrize("count", [0, 1, 30, 100])
def test_flags_equal_their_naive_twin(rng, count):
    values = rng.integers(-9, 9, 100).astype(np.float32)
    got, want = np.full((2, 100), 7, np.uint8)
    kernels.select.top_flags(values, count, got)
    naive.select.top_flags(values, count, want)
    np.testing.assert_array_equal(got, want)
    assert got.sum() == count


def test_what_cannot_be_selected_is_refused():
    values = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="more coordinates requested"):
        kernels.select.top(values, *places(4))
    with pytest.raises(ValueError, match="indices and picked"):
        kernels.select.top(values, places(2)[0], places(1)[1])
    with pytest.raises(ValueError, match="update and residual"):
        kernels.select.feedback(values, values[:2].copy(), *places(1))
    with pytest.raises(ValueError, match="more coordinates requested"):
        kernels.select.feedback(values, values.copy(), *places(4))
    with pytest.raises(ValueError, match="indices and picked"):
        kernels.select.feedback(values, values.copy(), places(1)[0], places(2)[1])
    for count, size in ((-1, 3), (1, 2), (1, 4)):
        with pytest.raises(ValueError, match="negative, or values and flags"):
            kernels.select.top_flags(values, count, np.zeros(size, np.uint8))
