"""The layout with the batch innermost: entering it and elementwise work in it."""

import numpy as np
import pytest

from fedmpi.kernels import batch_last
from tests.naive import batch_last as naive

CALLS = {
    "transpose": (100, 0, 5, 16, 7),
    "rectify": (10, 50),
    "clear": (10, 50),
    "add": (100, 0, 50, 40, 0.0),
    "add unbounded": (100, 0, 50, 40, float("-inf")),
    "pass_on": (0, 100, 40, True, 0),
    "pass_on gated": (0, 100, 40, False, 150),
}


@pytest.mark.parametrize("name", CALLS)
def test_elementwise_kernels_equal_their_twins(rng, name):
    got = rng.standard_normal(300).astype(np.float32)
    want = got.copy()
    kernel = name.split()[0]
    getattr(batch_last, kernel)(got, *CALLS[name])
    getattr(naive, kernel)(want, *CALLS[name])
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("count", [1, 16, 9])
@pytest.mark.parametrize("size", [1, 16, 21])
def test_enter_turns_a_batch_and_fills_it_up_with_zeros(rng, size, count):
    got = rng.standard_normal(400).astype(np.float32)
    want, x = got.copy(), rng.standard_normal((count, size)).astype(np.float32)
    places = rng.permutation(size) * 16
    batch_last.enter(got, places, x, 16)
    naive.enter(want, places, x, 16)
    np.testing.assert_array_equal(got, want)


def test_magnitudes_leave_out_lanes_without_a_sample(rng):
    memory = rng.standard_normal(200).astype(np.float32)
    memory[15] = np.nan  # lane 15 of the first plane holds no sample
    mask = (np.arange(16) < 15).astype(np.float32)
    got, want = np.ones(2), np.ones(2)
    batch_last.add_magnitudes(got, memory, np.array([0, 64]), 64, mask)
    naive.add_magnitudes(want, memory, np.array([0, 64]), 64, mask)
    np.testing.assert_allclose(got, want, rtol=1e-12)
