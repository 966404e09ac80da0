"""The rule on shapes that picks an engine."""

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from fedmpi.layout import Layout
from fedmpi.learn.fast.rule import choose
from fedmpi.learn.layout_of import layout_of


@pytest.mark.parametrize(
    ("macs", "batch", "want"),
    [
        (400_000, 1, "kernels"),
        (2_000_000, 1, "torch"),
        (2_000_000, 2, "kernels"),
        (2_000_000, 10, "kernels"),
        (40_000_000, 10, "torch"),
        (40_000_000, 50, "kernels"),
        (500_000_000, 50, "torch"),
        (500_000_000, 64, "kernels"),
    ],
)
def test_the_rule_wants_lanes_the_fuller_the_larger_the_network(macs, batch, want):
    module = nn.Sequential(nn.Flatten(), nn.Linear(128, 4))
    layout = layout_of(module, np.zeros((1, 2, 8, 8), np.float32))
    layout = Layout(layout.tensors, (replace(layout.layers[0], macs=macs),))
    assert choose(module, layout, (2, 8, 8), batch)[0] == want
