"""The optimisers' steps against their naive twins and against torch."""

import numpy as np
import pytest
import torch

from fedmpi.kernels import update
from tests.naive import update as naive

ALL = np.array([0, 40, 40, 50], np.uint32)  # runs


def case(rng, size):
    """Return (weights, grad, one moment, another, reference, mask)."""
    arrays = [rng.standard_normal(size).astype(np.float32) for _ in range(5)]
    arrays[3] = abs(arrays[3])
    return *arrays, (rng.random(size) < 0.7).astype(np.uint8)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 37])
@pytest.mark.parametrize("mu", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_sgd_and_adam_equal_their_twins(rng, size, mu, decay):
    found = []
    given = case(rng, size)
    given[5][5:20] = 0
    edges = np.array([0, size] if size < 20 else [0, 5, 20, 23, 23, size], np.uint32)
    for module in (update, naive):
        weights, grad, first, second, reference, mask = (array.copy() for array in given)
        module.sgd(weights, grad, first, reference, mask, edges, 0.1, 0.9, decay, mu)
        module.adam(weights, grad, first, second, reference, mask, 0.1, decay, mu, 3)
        found.append((weights, first, second))
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_nothing_moves_where_the_mask_is_zero_even_if_the_gradient_is_nan(rng):
    weights, grad, first, second, reference, mask = case(rng, 50)
    grad[mask == 0] = np.nan
    before = [array[mask == 0].copy() for array in (weights, first, second)]
    update.sgd(weights, grad, first, reference, mask, ALL, 0.1, 0.9, 0.1, 0.1)
    update.adam(weights, grad, first, second, reference, mask, 0.1, 0.1, 0.1, 1)
    for array, old in zip((weights, first, second), before, strict=True):
        np.testing.assert_array_equal(array[mask == 0], old)
        assert np.isfinite(array).all()


def test_without_a_pull_the_received_weights_are_not_read(rng):
    weights, grad, first, second, reference, mask = case(rng, 50)
    reference[:] = np.nan
    update.sgd(weights, grad, first, reference, mask, ALL, 0.1, 0.9, 0.1, 0.0)
    update.adam(weights, grad, first, second, reference, mask, 0.1, 0.1, 0.0, 1)
    assert np.isfinite([weights, first, second]).all()


@pytest.mark.parametrize("kind", [float, np.float64, np.float32])
def test_a_rate_of_any_kind_is_rounded_to_float32(rng, kind):
    weights, grad, velocity, _, reference, _ = case(rng, 50)
    factors = [kind(np.float32(f)) for f in (0.1, 0.9, 0.01, 0.3)]
    lr, momentum, decay, mu = np.float32(factors)
    pull = (grad + decay * weights) + mu * (weights - reference)
    moved = momentum * velocity + pull
    want = weights - lr * moved
    given = [float(f) for f in (0.1, 0.9, 0.01, 0.3)] if kind is not np.float32 else factors
    update.sgd(weights, grad, velocity, reference, np.ones(50, np.uint8), ALL, *given)
    np.testing.assert_array_equal(velocity, moved)
    np.testing.assert_array_equal(weights, want)


def test_a_gradient_that_is_nearly_nothing_moves_by_less_than_the_rate():
    """The 1e-8 in the divisor of Adam counts then: 1e-8 / (1e-8 + 1e-8) is a half."""
    weights, first, second, grad = np.zeros((4, 3), np.float32)
    grad[:] = 1e-8, -1e-8, 0
    update.adam(weights, grad, first, second, weights, np.ones(3, np.uint8), 0.1, 0.0, 0.0, 1)
    np.testing.assert_allclose(weights, [-0.05, 0.05, 0], rtol=1e-3)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_five_steps_equal_those_of_torch(rng, name):
    start = rng.standard_normal(40).astype(np.float32)
    weights, moments, mask = start.copy(), np.zeros((2, 40), np.float32), np.ones(40, np.uint8)
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    if name == "sgd":
        optimizer = torch.optim.SGD([parameter], 0.1, momentum=0.9, weight_decay=0.01)
    else:
        optimizer = torch.optim.Adam([parameter], 0.1, weight_decay=0.01)
    for step in range(1, 6):
        grad = rng.standard_normal(40).astype(np.float32)
        parameter.grad = torch.from_numpy(grad)
        optimizer.step()
        if name == "sgd":
            update.sgd(weights, grad, moments[0], start, mask, ALL[:2], 0.1, 0.9, 0.01, 0.0)
        else:
            update.adam(weights, grad, *moments, start, mask, 0.1, 0.01, 0.0, step)
    np.testing.assert_allclose(weights, parameter.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("other", range(4))
def test_vectors_of_other_lengths_are_refused(other):
    """The gradient, a moment, the reference, the mask."""
    one, mask = np.zeros(1, np.float32), np.ones(1, np.uint8)
    given = [one, one, one, mask]
    given[other] = np.resize(given[other], 2)
    grad, moment, reference, mask = given
    with pytest.raises(ValueError, match="equally long"):
        update.sgd(one, grad, moment, reference, mask, ALL, 0.1, 0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="equally long"):
        update.adam(one, grad, moment, one, reference, mask, 0.1, 0.0, 0.0, 1)


def test_a_second_moment_of_another_length_and_a_step_before_the_first_are_refused():
    one, two = np.zeros(1, np.float32), np.zeros(2, np.float32)
    with pytest.raises(ValueError, match="step at least 1"):
        update.adam(one, one, one, two, one, np.ones(1, np.uint8), 0.1, 0.0, 0.0, 1)
    with pytest.raises(ValueError, match="step at least 1"):
        update.adam(one, one, one, one, one, np.ones(1, np.uint8), 0.1, 0.0, 0.0, 0)
