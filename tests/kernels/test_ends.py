"""The ends of runs, compiled and in Python, beside memory that holds NaN."""

import numpy as np
import pytest

from fedmpi.kernels import ends, lanes
from fedmpi.kernels._jit import kernel
from tests.naive import ends as naive

PLACES, OUT = np.array([40, 3, 77, 16]), np.array([0, 48])


@kernel
def below(out, count):
    lanes.store(ends.below(lanes.full(2, 3, 0.0), count), out, OUT, 0, 0)


@kernel
def store(tile, count, array, places, i, at):
    ends.store(lanes.loaded(lanes.full(2, 3, 0.0), tile, OUT, 0, 0), count, array, places, i, at)


@kernel
def inner(out, size, left, places, i, at, right, columns, j, start):
    tile = lanes.full(2, 3, 0.25)
    tile = ends.inner(tile, size, left, places, i, at, right, columns, j, start)
    lanes.store(tile, out, OUT, 0, 0)


@pytest.mark.parametrize("count", [-3, 0, 1, 10, 16, 17, 31, 48, 60])
def test_below_has_ones_up_to_a_count(count):
    out = np.full(96, 7, np.float32)
    below(out, count)
    want = np.arange(48) < count
    np.testing.assert_array_equal(out.reshape(2, 48), [want, want])


@pytest.mark.parametrize("count", [-3, *range(17), 26, 31, 32, 43, 48, 60])
def test_store_writes_the_lanes_up_to_a_count_and_no_others(rng, count):
    tile = rng.standard_normal(96).astype(np.float32)
    got = np.full(200, np.nan, np.float32)
    want = got.copy()
    store(tile, count, got, PLACES, 1, 7)
    naive.store(tile.reshape(2, 3, 16), count, want, PLACES, 1, 7)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("size", [1, 3, 10, 15, 17, 20, 31, 50])
def test_inner_adds_the_lanes_behind_the_whole_vectors(rng, size):
    """What is beside the planes is NaN, and of the planes only the last lanes count."""
    left, right = np.full((2, 400), np.nan, np.float32)
    places, columns = np.array([9, 40, 120]), np.array([5, 20, 90, 160, 230])
    for place in places[1:]:
        left[place + 4 : place + 4 + size] = rng.standard_normal(size)
    for place in columns[2:]:
        right[place + 6 : place + 6 + size] = rng.standard_normal(size)
    out = np.zeros(96, np.float32)
    given = size, left, places, 1, 4, right, columns, 2, 6
    inner(out, *given)
    want = naive.inner(np.full((2, 3, 16), 0.25), *given)
    np.testing.assert_allclose(out, want.reshape(-1), rtol=1e-5, atol=1e-6)
