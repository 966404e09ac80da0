"""The amount of a client's training: predictions equal the sizes of its batches."""

import numpy as np
import pytest

from fedmpi.learn.local import Local


@pytest.mark.parametrize(("epochs", "steps"), [(1, None), (3, None), (None, 1), (None, 7)])
@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_steps_and_samples_are_those_of_the_batches(epochs, steps, batch_size):
    local = Local(epochs, steps, batch_size, "sgd", 0.1, 1.0, 0.0, 0.0)
    sizes = np.array([0, 1, 4, 5, 31, 32, 33], np.uint16)
    taken = [[len(places) for places, _ in local.batches(0, 0, 0, int(size), None)]
             for size in sizes]
    assert local.steps_of(sizes).tolist() == [len(batches) for batches in taken]
    assert local.samples_of(sizes).tolist() == [sum(batches) for batches in taken]
    assert [int(local.samples_of(int(size))) for size in sizes] == [sum(b) for b in taken]
