"""Statistics of a block alone: of one sample, beside a frozen normalisation, and in any order."""

import numpy as np
import pytest
import torch
from torch import nn

from fedmpi.learn.draws import Draws
from fedmpi.learn.layout_of import flat_weights, layout_of
from fedmpi.learn.static_norm import statistics_of
from tests.learn.any_models import Averaging, Counting


def found(module, x):
    """Return the statistics of a block of samples, and the module's layout."""
    layout = layout_of(module, x[:1])
    weights = flat_weights(module, layout).numpy().copy()
    return statistics_of(module, layout)(weights, x, Draws(0, 0, 0)), layout


def test_a_block_of_one_sample_has_its_values_for_means_and_no_variance():
    x = np.array([[3.0, -1.0]], np.float32)
    values, layout = found(nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)), x)
    assert values[layout.slice("0.running_mean")].tolist() == [3, -1]
    assert values[layout.slice("0.running_var")].tolist() == [0, 0]


def test_a_frozen_normalisation_goes_on_with_the_statistics_that_it_has():
    module = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    module[0].requires_grad_(False)
    module[0].running_mean += 5
    x = np.random.default_rng(1).standard_normal((9, 2)).astype(np.float32)
    values, layout = found(module, x)
    wanted = torch.from_numpy(x).mean(0).numpy() - 5
    np.testing.assert_allclose(values[layout.slice("1.running_mean")], wanted, atol=1e-4)


@pytest.mark.parametrize("first", [nn.Dropout(0.5), Counting(6, 6), Averaging(6)])
def test_a_block_has_the_same_statistics_whatever_blocks_came_before(first):
    x = np.random.default_rng(2).standard_normal((2, 9, 6)).astype(np.float32)
    module = nn.Sequential(first, nn.BatchNorm1d(6), nn.Linear(6, 3))
    layout = layout_of(module, x[0, :1])
    weights, of_block = flat_weights(module, layout).numpy().copy(), statistics_of(module, layout)
    before = torch.get_rng_state()
    one, other, again = (of_block(weights, x[k], Draws(5, 0, k, "statistics")) for k in (0, 1, 0))
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    if "0.mean" in layout.names:
        np.testing.assert_allclose(one[layout.slice("0.mean")], 0.1 * x[0].mean(0), atol=1e-6)
