"""The layout with the batch innermost: entering it and elementwise work in it."""

import numpy as np
import pytest

from fedmpi.kernels import batch_last
from tests.naive import batch_last as naive

CALLS = {
    "transpose": (300, 0, 17, 16, 19),
    "transpose wide": (600, 0, 16, 32, 16),
    "transpose without a gap": (513, 1, 31, 16, 31),
    "transpose of whole blocks": (801, 3, 24, 16, 25),
    "turn_weights": (
        50, np.arange(99, dtype=np.float32), np.array([4, 60, 20]), np.array([27, 0, 9]), 9
    ),
    "clear": (np.array([10, 200]), 50),
    "add": (100, 3, 50, 40, 0.0),
    "add unbounded": (100, 3, 50, 40, float("-inf")),
    "pass_on": (7, 100, 40, True, 0),
    "pass_on gated": (7, 100, 40, False, 143),
    "pass_on fresh and gated": (7, 100, 33, True, 143),
    "pass_on nothing": (0, 100, 0, True, 0),
    "add nothing": (100, 0, 50, 0, 0.0),
}


@pytest.mark.parametrize("name", CALLS)
def test_elementwise_kernels_equal_their_twins(rng, name):
    got = rng.standard_normal(1200).astype(np.float32)
    got[150:190:3] = 0  # of a gate that is closed
    got[152] = np.nan
    want = got.copy()
    kernel = name.split()[0]
    getattr(batch_last, kernel)(got, *CALLS[name])
    getattr(naive, kernel)(want, *CALLS[name])
    np.testing.assert_array_equal(got, want)


def test_nan_stays_nan_above_any_floor():
    memory = np.arange(-64, 64, dtype=np.float32)
    memory[3] = np.nan
    batch_last.add(memory, 64, 0, 16, 16, 0.0)
    assert np.flatnonzero(np.isnan(memory[64:])).tolist() == [3]
    batch_last.measure(np.zeros(1), memory, np.zeros(1, np.int64), 32, np.ones(256, "f4"), 0.0)
    assert np.flatnonzero(np.isnan(memory[:64])).tolist() == [3]
    np.testing.assert_array_equal(np.delete(memory[:32], 3), 0)


@pytest.mark.parametrize("count", [0, 1, 9, 15, 16, 17, 31, 32])
@pytest.mark.parametrize("size", [1, 7, 8, 9, 15, 16, 17, 21, 33])
@pytest.mark.parametrize("spare", [0, 5])
def test_enter_gathers_a_batch_turns_it_and_fills_it_up_with_a_sample(rng, size, count, spare):
    got = rng.standard_normal(1300).astype(np.float32)
    want, x = got.copy(), rng.standard_normal((40, size)).astype(np.float32)
    width = count + spare if spare else 32
    places, index = 1 + rng.permutation(size) * width, rng.integers(0, 40, count)
    batch_last.enter(got, places, x, index, width)
    naive.enter(want, places, x, index, width)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("width", [1, 3, 10, 17, 20])
@pytest.mark.parametrize("rows", [16, 21])
def test_transpose_of_any_width_writes_no_further_than_to_whole_vectors(rng, rows, width):
    got = rng.standard_normal(2000).astype(np.float32)
    want, pitch = got.copy(), rows + 2
    batch_last.transpose(got, 600, 5, rows, width, pitch)
    naive.transpose(want, 600, 5, rows, width, pitch)
    end, whole = (600 + pitch * n for n in (width, -(-width // 16) * 16))
    np.testing.assert_array_equal(got[:end], want[:end])
    np.testing.assert_array_equal(got[whole:], want[whole:])


@pytest.mark.parametrize("floor", [0.0, float("-inf")])
@pytest.mark.parametrize("width", [1, 3, 10, 16, 20, 32, 50])
def test_magnitudes_leave_out_lanes_without_a_sample(rng, width, floor):
    memory = rng.standard_normal(170 * width + 16).astype(np.float32)
    lost, number = width // 2, np.arange(width)  # a lane that holds no sample, nor do the last
    mask = np.tile((number != lost) & (number < max(1, width - 3)) | (width == 1), 16).astype("f4")
    memory[lost] = memory[70 * width] = np.nan if width > 1 else 1
    memory[150 * width :] = np.nan  # behind the planes
    twin, planes, size = memory.copy(), np.array([0, 80 * width]), 70 * width
    got, want = np.ones(2), np.ones(2)
    batch_last.measure(got, memory, planes, size, mask, floor)
    naive.measure(want, twin, planes, size, mask, floor)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_array_equal(memory, twin)
