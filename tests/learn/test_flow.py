"""Synaptic flow has the same bits for any number of torch's threads, which it leaves alone."""

import numpy as np
import pytest
import torch
from torch import nn

from fedmpi.learn.flow import flow_of
from fedmpi.learn.layout_of import layout_of


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_the_flow_has_the_same_bits_for_any_number_of_threads(threads):
    sample, found = np.zeros((1, 3, 32, 32), np.float32), []
    for number in (1, 2):
        module = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.Flatten(),
            nn.Linear(64 * 30 * 30, 10),
        )  # fmt: skip
        layout = layout_of(module, sample)
        weights = np.random.default_rng(1).standard_normal(layout.size).astype(np.float32)
        threads(number)
        found.append(flow_of(module, layout, sample)(weights))
        assert torch.get_num_threads() == number
    assert np.array_equal(*found)
