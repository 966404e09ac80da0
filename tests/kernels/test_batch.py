"""Samples as they are trained on, against the naive twin."""

import numpy as np
import pytest

from fedmpi.kernels import batch
from tests.naive import batch as naive


@pytest.mark.parametrize("count", [0, 1, 30])
@pytest.mark.parametrize("channels", [1, 3])
def test_normalise_equals_its_twin(rng, channels, count):
    images = rng.integers(0, 256, (40, channels, 70)).astype(np.uint8)
    scale, shift = rng.standard_normal((2, channels)).astype(np.float32)
    index = rng.integers(0, 40, count)
    got, want = np.zeros((2, count, channels, 70), np.float32)
    batch.normalise(got, images, index, scale, shift)
    naive.normalise(want, images, index, scale, shift)
    np.testing.assert_array_equal(got, want)
