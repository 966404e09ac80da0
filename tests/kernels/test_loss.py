"""Losses of a batch of outputs against their naive twins."""

import numpy as np
import pytest

from fedmpi.kernels import loss
from tests.naive import loss as naive


@pytest.mark.parametrize("scale", [1, 200])
@pytest.mark.parametrize("count", [1, 11, 16])
def test_cross_entropy_equals_its_twin(rng, count, scale):
    got = (rng.standard_normal(160) * scale).astype(np.float32)
    want, y = got.copy(), rng.integers(0, 5, count)
    mine = loss.cross_entropy(got, 0, 80, 5, 16, y)
    theirs = naive.cross_entropy(want, 0, 80, 5, 16, y)
    assert mine == pytest.approx(theirs, rel=1e-5)
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 30])
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("count", [1, 11, 16])
def test_errors_of_a_class_equal_their_twin(rng, count, soft, squared, scale):
    got = (rng.standard_normal(160) * scale).astype(np.float32)
    want, y = got.copy(), rng.integers(0, 5, count)
    mine = loss.of_class(got, 0, 80, 5, 16, y, soft, squared)
    theirs = naive.of_class(want, 0, 80, 5, 16, y, soft, squared)
    assert mine == pytest.approx(theirs, rel=1e-6)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scale", [1, 30])
@pytest.mark.parametrize("crossed", [True, False])
@pytest.mark.parametrize("count", [1, 11, 16])
def test_errors_of_numbers_equal_their_twin(rng, count, crossed, scale):
    got = (rng.standard_normal(160) * scale).astype(np.float32)
    want, targets = got.copy(), rng.random((count, 5), np.float32)
    mine = loss.of_numbers(got, 0, 80, 5, 16, targets, crossed)
    theirs = naive.of_numbers(want, 0, 80, 5, 16, targets, crossed)
    assert mine == pytest.approx(theirs, rel=1e-6)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("sign", [1, -1])
def test_outputs_that_are_very_large_overflow_nowhere(sign):
    """At sign infinity a sigmoid is 0 or 1, and the other class, or label, is missed by it."""
    memory, wrong = np.full(64, sign * 3e38, np.float32), np.float32([[0.0 if sign > 0 else 1.0]])
    assert loss.of_numbers(memory, 0, 32, 1, 16, wrong, True) == pytest.approx(3e38, rel=1e-6)
    assert memory[32] == sign
    assert loss.of_class(memory, 0, 32, 2, 16, np.zeros(1, np.int64), False, False) == 1
    np.testing.assert_array_equal(memory[32:64], 0)


@pytest.mark.parametrize("how", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("place", [0, 32, 64])
def test_an_output_that_is_not_a_number_shows_in_every_loss(place, how):
    memory, y = np.zeros(160, np.float32), np.array([2, 1])
    memory[place] = np.nan
    assert np.isnan(loss.of_class(memory, 0, 80, 5, 16, y, *how))
    assert np.isnan(memory[80 + place]) and np.isfinite(memory[81:160:16]).all()
    targets = np.zeros((2, 5), np.float32)
    assert np.isnan(loss.of_numbers(memory, 0, 80, 5, 16, targets, how[0]))
    assert np.isnan(memory[80 + place]) and np.isfinite(memory[81:160:16]).all()


def test_an_activity_that_is_right_to_the_last_bit_has_no_slope():
    """As autograd has it: the derivative of |x| at 0 is 0."""
    memory = np.zeros(64, np.float32)
    memory[[0, 16]] = 200, -200
    assert loss.of_class(memory, 0, 32, 2, 16, np.zeros(1, np.int64), True, False) == 0
    np.testing.assert_array_equal(memory[32:], 0)


def test_a_batch_without_samples_loses_nothing():
    memory = np.ones(160, np.float32)
    assert loss.cross_entropy(memory, 0, 80, 5, 16, np.zeros(0, np.int64)) == 0
    np.testing.assert_array_equal(memory, np.repeat(np.float32([1, 0]), 80))
    memory[80:] = 1
    assert loss.of_class(memory, 0, 80, 5, 16, np.zeros(0, np.int64), True, True) == 0
    np.testing.assert_array_equal(memory, np.repeat(np.float32([1, 0]), 80))
    memory[80:] = 1
    assert loss.of_numbers(memory, 0, 80, 5, 16, np.zeros((0, 5), np.float32), True) == 0
    np.testing.assert_array_equal(memory, np.repeat(np.float32([1, 0]), 80))


@pytest.mark.parametrize("place", [0, 32, 64])
def test_a_logit_that_is_not_a_number_shows_in_the_loss(place):
    """At any place: as the first output, the label's output, or the last."""
    memory = np.zeros(160, np.float32)
    memory[place] = np.nan
    assert np.isnan(loss.cross_entropy(memory, 0, 80, 5, 16, np.array([2, 1])))
    assert np.isnan(memory[80:160:16]).all() and np.isfinite(memory[81:160:16]).all()


@pytest.mark.parametrize("y", [[5], [-1], [0] * 17])
def test_cross_entropy_refuses_labels_that_do_not_fit(y):
    with pytest.raises(ValueError, match="cross_entropy"):
        loss.cross_entropy(np.zeros(160, np.float32), 0, 80, 5, 16, np.array(y))
    with pytest.raises(ValueError, match="of_class"):
        loss.of_class(np.zeros(160, np.float32), 0, 80, 5, 16, np.array(y), True, True)


@pytest.mark.parametrize("shape", [(17, 5), (3, 4), (3, 6)])
def test_numbers_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="of_numbers"):
        loss.of_numbers(np.zeros(160, np.float32), 0, 80, 5, 16, np.zeros(shape, "f4"), False)
