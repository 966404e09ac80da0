"""Batch normalisation against its naive twins, with full and with short batches."""

import numpy as np
import pytest

from fedmpi.kernels import norm
from tests.naive import norm as naive

SIZE, WIDTH = 96, 32
SRC, OUT = np.array([0, 96]), np.array([192, 288])
UP, DOWN = OUT + 384, SRC + 384
SCALE, SHIFT, MEAN, VARIANCE = (np.array([k, k + 1]) for k in (0, 2, 4, 6))


def mask_of(width, count):
    """Return float32[16 width]: 1 for the first `count` lanes of each of 16 positions."""
    return np.tile(np.arange(width) < count, 16).astype(np.float32)


def case(rng, count):
    """Return (memory, mask, weights)."""
    memory = (rng.standard_normal(768) * 2 + 3).astype(np.float32)
    weights = rng.uniform(0.5, 2, 8).astype(np.float32)
    return memory, mask_of(WIDTH, count), weights


@pytest.mark.parametrize("count", [32, 20, 1])
@pytest.mark.parametrize("floor", [float("-inf"), 0.0])
def test_normalise_and_apply_equal_their_twins(rng, floor, count):
    memory, mask, weights = case(rng, count)
    found = []
    for module in (norm, naive):
        mine, moved, saved = memory.copy(), weights.copy(), np.zeros((2, 2), np.float32)
        module.normalise(mine, OUT, SRC, SIZE, mask, moved, SCALE, SHIFT, saved, 1e-5, floor)
        module.track(moved, MEAN, VARIANCE, saved, np.array([0, 1]), mask, SIZE, 0.1)
        module.apply(mine, UP, SRC, SIZE, moved, SCALE, SHIFT, MEAN, VARIANCE, 1e-5, floor)
        found.append((mine, moved, saved))
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gate", [0, -384])
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("channels", [[0, 1], [1]])
def test_normalise_back_equals_its_twin(rng, channels, trained, fresh, gate):
    memory, mask, weights = case(rng, 20)
    memory[:384] -= 3
    memory[SRC[0] : SRC[0] + SIZE : 3] = 0  # a gate of 0 is closed
    c = np.array(channels)
    saved = np.zeros((2, 2), np.float32)
    naive.normalise(memory.copy(), OUT, SRC, SIZE, mask, weights, SCALE, SHIFT, saved, 1e-5, 0.0)
    found = []
    for module in (norm, naive):
        mine, grad = memory.copy(), np.zeros(8, np.float32)
        module.normalise_back(
            mine, SRC[c], UP[c], DOWN[c], SIZE, mask, weights, grad, SCALE[c], SHIFT[c], saved, c,
            1e-5, trained, fresh, gate,
        )  # fmt: skip
        found.append((mine, grad))
    assert found[0][1].any() == trained
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=2e-4)


def test_one_value_of_a_channel_passes_nothing_down(rng):
    memory, mask, weights = case(rng, 1)
    saved = np.zeros((2, 2), np.float32)
    norm.normalise(memory, OUT, SRC, WIDTH, mask, weights, SCALE, SHIFT, saved, 1e-5, 0.0)
    grad = np.zeros(8, np.float32)
    norm.normalise_back(
        memory, SRC, UP, DOWN, WIDTH, mask, weights, grad, SCALE, SHIFT, saved, np.arange(2), 1e-5,
        True, True, 0,
    )  # fmt: skip
    np.testing.assert_array_equal(grad[SHIFT], memory[UP])
    np.testing.assert_array_equal([memory[at : at + WIDTH] for at in DOWN], 0)


@pytest.mark.parametrize("width", [WIDTH, 1, 3, 10, 20, 50])
@pytest.mark.parametrize(("positions", "count"), [(1, 1), (1, 2), (16, 9), (37, 20)])
def test_planes_with_many_and_few_values_equal_their_twins(rng, positions, count, width):
    """More than are added in one go, and two values: an epsilon of 1 leaves them a gradient."""
    count = min(count, width)
    (_, _, weights), mask = case(rng, count), mask_of(width, count)
    size, found = positions * width, []
    src, out, up, down = np.arange(8).reshape(4, 2) * size
    memory = rng.standard_normal(8 * size + 16).astype(np.float32)
    memory[8 * size :] = np.nan
    for module in (norm, naive):
        mine, moved, grad = memory.copy(), weights.copy(), np.zeros(8, np.float32)
        saved, channels = np.zeros((2, 2), np.float32), np.arange(2)
        module.normalise(mine, out, src, size, mask, moved, SCALE, SHIFT, saved, 1.0, 0.0)
        module.track(moved, MEAN, VARIANCE, saved, channels, mask, size, 0.1)
        module.normalise_back(
            mine, src, up, down, size, mask, moved, grad, SCALE, SHIFT, saved, channels, 1.0,
            True, True, 0,
        )  # fmt: skip
        found.append((mine, moved, saved, grad))
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=2e-5)
    assert found[0][0][down].all() == (positions * count > 1)


def test_nan_stays_nan_above_any_floor(rng):
    memory, mask, weights = case(rng, 32)
    memory[40] = np.nan
    norm.apply(memory, OUT, SRC, SIZE, weights, SCALE, SHIFT, MEAN, VARIANCE, 1e-5, 0.0)
    assert np.flatnonzero(np.isnan(memory[192:384])).tolist() == [40]
    norm.normalise(
        memory, OUT, SRC, SIZE, mask, weights, SCALE, SHIFT, np.zeros((2, 2), "f4"), 1e-5, 0.0
    )
    np.testing.assert_array_equal(np.isnan(memory[192:384]), np.repeat([True, False], 96))
