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


@pytest.mark.parametrize("y", [[5], [-1], [0] * 17])
def test_cross_entropy_refuses_labels_that_do_not_fit(y):
    with pytest.raises(ValueError, match="cross_entropy"):
        loss.cross_entropy(np.zeros(160, np.float32), 0, 80, 5, 16, np.array(y))
