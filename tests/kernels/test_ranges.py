"""Loads and cuts against their naive twins."""

import numpy as np
import pytest

from fedmpi.kernels import ranges
from tests.kernels.test_merge import STARTS, case
from tests.naive import ranges as naive


@pytest.mark.parametrize("sample", [1, 4])
@pytest.mark.parametrize("width", [8, 64])
@pytest.mark.parametrize("units", STARTS)
def test_loads_equal_their_twins(rng, units, width, sample):
    _, _, touched, starts = case(rng, 301, units)
    got, want = np.ones((2, -(-301 // width) + 2), np.int64)
    ranges.loads(touched, starts, width, sample, got)
    naive.loads(touched, starts, width, sample, want)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("width", [64, 256, 512])
@pytest.mark.parametrize(
    ("lo", "hi"), [(0, 1000), (64, 1000), (128, 640), (192, 192), (1000, 1000), (100, 500)]
)
@pytest.mark.parametrize("crowded", [0, 1, 3, 15])
def test_cuts_share_the_load_as_their_twin_says(crowded, lo, hi, width):
    """Bins behind the end hold nothing; the last may be filled in part."""
    loads = np.zeros((2, 16), np.int64)
    loads[:, crowded] = 40, 24
    loads[:, -(-1000 // width) :] = 0
    shares = np.array([1, 2, 1])
    got, want = np.array([[lo, 0, 0, hi]] * 2)
    ranges.cut(loads, width, 1000, shares, got)
    naive.cut(loads, width, 1000, shares, want)
    assert (np.abs(got - want) <= 64).all() and (np.diff(got) >= 0).all()
    assert ((got % 64 == 0) | (got == lo) | (got == hi)).all()
    assert (got[0], got[-1]) == (lo, hi)


@pytest.mark.parametrize(("size", "ranks"), [(2**31, 1024), (2**32, 512)])
def test_cuts_of_the_largest_models_stay_in_order(size, ranks):
    width = size // 64
    bounds = np.array([0] * ranks + [size])
    ranges.cut(np.full((ranks, 64), width), width, size, np.ones(ranks, np.int64), bounds)
    np.testing.assert_array_equal(bounds, np.arange(ranks + 1) * (size // ranks))


def test_cuts_of_an_untouched_vector_are_even_for_any_number_of_ranks():
    """The last bin is filled in part, and the load is no multiple of the shares."""
    size, ranks = 57_600, 999
    bounds = np.array([0] * ranks + [size])
    ranges.cut(np.zeros((1, 64), np.int64), 1024, size, np.ones(ranks, np.int64), bounds)
    np.testing.assert_array_equal(bounds, np.arange(ranks + 1) * size // ranks // 64 * 64)
