"""Statistics of a block alone: of one sample, and beside a normalisation that is frozen."""

import numpy as np
import torch
from torch import nn

from fedmpi.learn.layout_of import flat_weights, layout_of
from fedmpi.learn.static_norm import statistics_of


def found(module, x):
    """Return the statistics of a block of samples, and the module's layout."""
    layout = layout_of(module, x[:1])
    weights = flat_weights(module, layout).numpy().copy()
    return statistics_of(module, layout)(weights, x), layout


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
