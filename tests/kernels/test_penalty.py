"""The group penalty against its twin, by hand, and against finite differences."""

import numpy as np
import pytest

from fedmpi import kernels
from tests.naive import penalty as twin

STARTS, STOPS = np.array([0, 5, 9]), np.array([4, 9, 12])


def test_it_is_what_the_twin_says(rng):
    weights, grad = rng.standard_normal((2, 13)).astype(np.float32)
    expected = grad.copy()
    kernels.penalty.group_norm(grad, weights, STARTS, STOPS, 0.3)
    twin.group_norm(expected, weights, STARTS, STOPS, 0.3)
    np.testing.assert_allclose(grad, expected, rtol=1e-6)


def test_three_and_four_make_five():
    grad = np.zeros(3, np.float32)
    weights = np.array([3, 4, 7], np.float32)
    kernels.penalty.group_norm(grad, weights, np.array([0]), np.array([2]), 10.0)
    assert grad.tolist() == [6, 8, 0]
    grad[:] = 0  # as precise if the squares of the weights are too small for a float32
    kernels.penalty.group_norm(
        grad, weights * np.float32(1e-25), np.array([0]), np.array([2]), 10.0
    )
    np.testing.assert_allclose(grad, [6, 8, 0], rtol=1e-6)


def test_a_group_of_zeros_is_left_alone():
    grad = np.ones(4, np.float32)
    kernels.penalty.group_norm(grad, np.zeros(4, np.float32), np.array([0]), np.array([4]), 1.0)
    assert grad.tolist() == [1, 1, 1, 1]


def test_a_group_of_vanishing_weights_is_left_alone_and_gives_no_infinity():
    grad, weights = np.ones(4, np.float32), np.array([1e-42, 0, -1e-44, 0], np.float32)
    kernels.penalty.group_norm(grad, weights, np.array([0]), np.array([4]), 1e-3)
    assert grad.tolist() == [1, 1, 1, 1]
    kernels.penalty.group_norm(grad, np.full(4, 5e-26, np.float32), np.array([0]), np.array([4]), 2)
    assert grad.tolist() == [2, 2, 2, 2]


def test_it_is_the_derivative_of_the_norms(rng):
    weights = rng.standard_normal(12).astype(np.float32)
    grad = np.zeros(12, np.float32)
    kernels.penalty.group_norm(grad, weights, STARTS, STOPS, 2.0)

    def value(w):
        return 2.0 * sum(np.linalg.norm(w[a:b]) for a, b in zip(STARTS, STOPS))

    wide = weights.astype(np.float64)
    for i in range(12):
        step = np.zeros(12)
        step[i] = 1e-6
        slope = (value(wide + step) - value(wide - step)) / 2e-6
        assert grad[i] == pytest.approx(slope, abs=1e-5)
