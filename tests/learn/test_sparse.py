"""Training with sums over kept weights only, against the dense kernels."""

import numpy as np
import pytest
from torch import nn

from fedmpi import kernels
from fedmpi.learn.fast import sparse
from fedmpi.plan import Backward
from tests.learn.small_networks import MODELS, residual, seeded, small_cnn
from tests.learn.test_kernel_gradients import batch_of, engine_of

SHAPE = (2, 8, 8)
PARTS = *[np.zeros(1, np.int64)] * 7, np.array([[0, 0, 16, 0, 1]])


def masked(layout, engine, density, seed=1):
    """Return uint8[P]: a random mask of all weights with more than one axis; prunes the engine."""
    mask, rng = np.ones(layout.size, np.uint8), np.random.default_rng(seed)
    for tensor in layout.tensors:
        if len(tensor.shape) > 1:
            block = slice(tensor.start, tensor.start + tensor.size)
            mask[block] = rng.random(tensor.size) < density
    engine.weights *= mask
    return mask


def called(engine, backward):
    """Return the names of the kernel modules that the backward pass uses for its sums."""
    calls = engine.backward_calls(7, backward)
    return {call.kernel.__module__.rpartition(".")[2] for call in calls}


@pytest.mark.parametrize("density", [0.0, 0.05, 0.25])
@pytest.mark.parametrize("name", MODELS)
def test_a_mask_changes_no_bit_of_loss_and_gradient(name, density):
    engine, layout = engine_of(seeded(MODELS[name]), SHAPE)
    mask, (x, y) = masked(layout, engine, density), batch_of(SHAPE, 7)
    dense, few = np.zeros((2, layout.size), np.float32)
    start = engine.weights.copy()
    loss = engine.gradient(start.copy(), x, y, dense)
    assert engine.gradient(start.copy(), x, y, few, Backward(mask=mask)) == loss
    np.testing.assert_array_equal(few, dense)


@pytest.mark.parametrize("count", [7, 16, 40])
@pytest.mark.parametrize("density", [0.0, 0.08])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_there_where_they_are_wanted(name, density, count):
    engine, layout = engine_of(seeded(MODELS[name]), SHAPE)
    mask, (x, y) = masked(layout, engine, density), batch_of(SHAPE, count)
    dense, few = np.zeros((2, layout.size), np.float32)
    start, backward = engine.weights.copy(), Backward(mask=mask, update=mask)
    loss = engine.gradient(start.copy(), x, y, dense)
    for _ in range(2):
        assert engine.gradient(start.copy(), x, y, few, backward) == loss
        scale = abs(dense).max()
        np.testing.assert_allclose(few[mask != 0], dense[mask != 0], rtol=1e-4, atol=2e-6 * scale)
    assert engine.gradient(start.copy(), x, y, few) == loss  # and all of it is there again
    np.testing.assert_array_equal(few, dense)


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_masks_go_together_with_dropped_rows(rng, kept):
    engine, layout = engine_of(seeded(residual), SHAPE)
    mask, (x, y) = masked(layout, engine, 0.1), batch_of(SHAPE, 6)
    rows = (*(rng.random(layer.rows) < kept for layer in layout.layers[:-1]), None)
    dense, few = np.zeros((2, layout.size), np.float32)
    start = engine.weights.copy()
    loss = engine.gradient(start.copy(), x, y, dense, Backward(rows))
    backward = Backward(rows, mask=mask, update=mask)
    assert engine.gradient(start.copy(), x, y, few, backward) == loss
    np.testing.assert_allclose(few[mask != 0], dense[mask != 0], rtol=1e-4, atol=1e-6)


def test_density_and_shape_choose_the_kernels():
    engine, layout = engine_of(seeded(small_cnn), SHAPE)
    everywhere, few = np.ones(layout.size, np.uint8), masked(layout, engine, 0.05)
    assert "kept" not in called(engine, Backward())
    assert "kept" not in called(engine, Backward(mask=everywhere, update=everywhere))
    assert "kept" in called(engine, Backward(mask=few))
    assert "kept" in called(engine, Backward(update=few))
    step = engine._steps[-1]  # Linear(9, 4)
    for kept, sums, gradient in ((3, kernels.kept.mix, True), (10, kernels.kept.mix, False),
                                 (11, kernels.conv.mix, False)):  # fmt: skip
        mask = np.zeros(layout.size, np.uint8)
        mask[step.weight : step.weight + kept] = 1
        assert sparse.mix(mask, step, PARTS)[0] is sums
        assert sparse.picks(mask, step) == gradient


def test_convolutions_take_the_gradients_of_three_tenths_of_their_weights():
    engine, layout = engine_of(seeded(small_cnn), SHAPE)
    step = next(step for step in engine._steps if getattr(step, "gains_when_small", False))
    for kept, gradient in ((int(0.3 * step.size), True), (int(0.3 * step.size) + 1, False)):
        mask = np.zeros(layout.size, np.uint8)
        mask[step.weight : step.weight + kept] = 1
        assert sparse.picks(mask, step) == gradient
        assert (sparse.mix(mask, step, PARTS)[0] is kernels.kept.mix) == gradient


def test_large_layers_need_fewer_weights_for_their_sums():
    module = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(1100, 1000), nn.Linear(1000, 4)))
    engine, layout = engine_of(module, (1100,))
    for density, kernel in ((0.15, kernels.conv.mix), (0.09, kernels.kept.mix)):
        mask = masked(layout, engine, density)
        assert sparse.mix(mask, engine._steps[0], PARTS)[0] is kernel
