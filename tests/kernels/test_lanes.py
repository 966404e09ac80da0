"""Register tiles, compiled and in Python, against their arithmetic number by number."""

import numpy as np

from fedmpi.kernels import lanes
from fedmpi.kernels._jit import kernel
from tests.naive import lanes as naive

PLACES = np.array([40, 3, 77, 16, 60, 9])


@kernel
def outer(out, scalars, places, i, step, array, at):
    tile = lanes.loaded(lanes.full(3, 2, 0.0), out, np.array([0, 32, 64]), 0, 0)
    tile = lanes.outer(tile, scalars, places, i, step, array, at)
    lanes.store(tile, out, np.array([0, 32, 64]), 0, 0)


@kernel
def inner(out, left, places, i, at, right, columns, j, start):
    tile = lanes.full(2, 3, 0.25)
    tile = lanes.inner(tile, left, places, i, at, right, columns, j, start)
    lanes.store(tile, out, np.array([0, 48]), 0, 0)


@kernel
def sums(out, array):
    tile = lanes.loaded(lanes.full(3, 6, 0.0), array, np.array([0, 96, 192]), 0, 0)
    lanes.sums(tile, out)


@kernel
def choose(out, a, b):
    one = lanes.vector(lanes.full(1, 1, 0.0), a, 0)
    other = lanes.vector(one, b, 0)
    tile = lanes.where_greater(one, other, one - other, lanes.filled(one, -1.0))
    tile = lanes.where_equal(one, other, lanes.fused(one, other, one), tile)
    lanes.store(tile + lanes.spread(one, b, np.array([2]), 0), out, np.array([0]), 0, 0)


def test_outer_adds_products_of_scalars_and_vectors(rng):
    out, scalars, array = (rng.standard_normal(200).astype(np.float32) for _ in range(3))
    want = naive.outer(out[:96].reshape(3, 2, 16), scalars, PLACES, 1, 5, array, 7)
    outer(out, scalars, PLACES, 1, 5, array, 7)
    np.testing.assert_allclose(out[:96], want.reshape(-1), rtol=1e-5, atol=1e-6)


def test_inner_adds_products_of_vectors(rng):
    out, left, right = (rng.standard_normal(200).astype(np.float32) for _ in range(3))
    want = naive.inner(np.full((2, 3, 16), 0.25), left, PLACES, 2, 8, right, PLACES[::-1], 1, 11)
    inner(out, left, PLACES, 2, 8, right, PLACES[::-1].copy(), 1, 11)
    np.testing.assert_allclose(out[:96], want.reshape(-1), rtol=1e-5, atol=1e-6)


def test_sums_gives_each_vector_its_own_sum(rng):
    array, out = rng.standard_normal(288).astype(np.float32), np.zeros(32, np.float32)
    sums(out, array)
    want = naive.sums(array.reshape(3, 6, 16))
    np.testing.assert_allclose(out[:18], want, rtol=1e-5, atol=1e-5)


def test_choices_follow_comparisons_and_nan_is_neither_greater_nor_equal(rng):
    a = rng.integers(-2, 3, 16).astype(np.float32)
    b = rng.integers(-2, 3, 16).astype(np.float32)
    a[5], out = np.nan, np.zeros(16, np.float32)
    choose(out, a, b)
    want = np.where(a > b, a - b, -1.0)
    want = np.where(a == b, a * b + a, want) + b[2]
    np.testing.assert_array_equal(out, want)
