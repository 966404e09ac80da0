"""Sigmoid and tanh against their naive twins."""

import numpy as np
import pytest

from fedmpi.kernels import activation
from tests.naive import activation as naive

NONE = float("-inf")
SRC, OUT = np.array([0, 100]), np.array([200, 300])
DOWN, UP = SRC + 400, OUT + 400
SIZE = 48


def memory_of(rng, scale):
    return (rng.standard_normal(800) * scale).astype(np.float32)


@pytest.mark.parametrize("scale", [0.01, 1, 100])
@pytest.mark.parametrize("floor", [NONE, 0.0])
@pytest.mark.parametrize("sigmoid", [True, False])
def test_activations_equal_their_twins_and_write_nothing_else(rng, sigmoid, floor, scale):
    got = memory_of(rng, scale)
    want = got.copy()
    for module, memory in ((activation, got), (naive, want)):
        module.activate(memory, OUT, SRC, SIZE, sigmoid, floor)
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=3e-7)


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("gate", [0, -400])
@pytest.mark.parametrize("sigmoid", [True, False])
def test_slopes_equal_their_twins(rng, sigmoid, gate, fresh):
    got = memory_of(rng, 1)
    want = got.copy()
    for module, memory in ((activation, got), (naive, want)):
        module.activate_back(memory, OUT, UP, DOWN, SIZE, sigmoid, fresh, gate)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sigmoid", [True, False])
def test_ends_are_reached_and_a_nan_stays_a_nan(sigmoid):
    memory = np.zeros(32, np.float32)
    memory[:4] = [np.inf, -np.inf, np.nan, 0]
    activation.activate(memory, np.array([16]), np.array([0]), 4, sigmoid, NONE)
    low, middle = (0, 0.5) if sigmoid else (-1, 0)
    np.testing.assert_allclose(memory[16:18], [1, low], atol=3e-7)
    assert np.isnan(memory[18]) and memory[19] == middle and not memory[20:].any()
