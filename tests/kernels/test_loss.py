"""Softmax cross-entropy against its naive twin."""

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


def test_a_batch_without_samples_loses_nothing():
    memory = np.ones(160, np.float32)
    assert loss.cross_entropy(memory, 0, 80, 5, 16, np.zeros(0, np.int64)) == 0
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
