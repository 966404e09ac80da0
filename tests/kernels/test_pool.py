"""Pooling against its naive twins, on windows that lie apart and windows that overlap."""

import numpy as np
import pytest

from fedmpi.kernels import pool
from tests.naive import pool as naive

NONE = float("-inf")
TAPS = np.array([0, 16, 48, 64])  # 2 x 2 in rows of 3 positions
# Runs are written elsewhere than they are read. The first of OVERLAP has one vector, the last two.
APART = np.array([[48, 32, 16, 0, 4]])
OVERLAP = np.array([[48, 0, 16, 1, 3], [8, 16, 32, 0, 4]])
EVEN = np.array([[16, 24, 64, 0, 4]])
SHORT = np.array([[48, 0, 10, 1, 3], [8, 16, 20, 0, 4], [0, 0, 3, 0, 1]])
SRC, OUT = np.array([0, 160]), np.array([320, 400])
DOWN, UP = SRC + 480, OUT + 480


def memory_of(rng):
    """float32[960] of few distinct values, so that there are ties."""
    return rng.integers(-3, 4, 960).astype(np.float32)


@pytest.mark.parametrize("runs", [APART, OVERLAP, EVEN, SHORT])
@pytest.mark.parametrize("floor", [NONE, 0.0])
def test_largest_and_its_way_back_equal_their_twins(rng, floor, runs):
    got = memory_of(rng)
    want = got.copy()
    apart = runs is APART
    for module, memory in ((pool, got), (naive, want)):
        module.largest(memory, OUT, SRC, TAPS, runs, floor)
        module.largest_back(memory, OUT, SRC, UP, DOWN, TAPS, runs, floor, apart)
    np.testing.assert_array_equal(got, want)


def test_largest_of_a_window_with_nan_is_nan(rng):
    memory = memory_of(rng)
    memory[48] = np.nan
    pool.largest(memory, OUT, SRC, TAPS, APART, 0.0)
    assert np.isnan(memory[OUT[0] + 48])
    assert np.isfinite(memory[OUT[0] + 49])


@pytest.mark.parametrize("runs", [OVERLAP, SHORT])
@pytest.mark.parametrize("gate", [0, -480])
@pytest.mark.parametrize("floor", [NONE, 0.0])
def test_mean_and_its_way_back_equal_their_twins(rng, floor, gate, runs):
    got = memory_of(rng)
    want = got.copy()
    for module, memory in ((pool, got), (naive, want)):
        module.mean(memory, OUT, SRC, TAPS, runs, 0.25, floor)
        module.mean_back(memory, UP, DOWN, TAPS, runs, 0.25, gate)
    np.testing.assert_array_equal(got, want)
