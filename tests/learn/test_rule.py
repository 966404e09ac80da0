"""The rule on shapes that picks an engine."""

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from fedmpi import kernels
from fedmpi.comm.base import Serial
from fedmpi.experiment import resolve
from fedmpi.experiment.assemble import assemble
from fedmpi.layout import Layout
from fedmpi.learn.fast.rule import choose
from fedmpi.learn.layout_of import layout_of


@pytest.mark.parametrize(
    ("macs", "batch", "wide", "narrow"),
    [
        (400_000, 1, "kernels", "kernels"),
        (2_000_000, 1, "torch", "torch"),
        (4_000_000, 1, "torch", "torch"),
        (2_000_000, 2, "torch", "torch"),
        (2_000_000, 3, "kernels", "kernels"),
        (2_000_000, 10, "kernels", "kernels"),
        (40_000_000, 10, "torch", "torch"),
        (40_000_000, 12, "kernels", "kernels"),
        (40_000_000, 50, "kernels", "kernels"),
        (500_000_000, 50, "torch", "torch"),
        (500_000_000, 64, "kernels", "torch"),
    ],
)
def test_the_rule_wants_lanes_the_fuller_the_larger_the_network(macs, batch, wide, narrow):
    module = nn.Sequential(nn.Flatten(), nn.Linear(128, 4))
    layout = layout_of(module, np.zeros((1, 2, 8, 8), np.float32))
    layout = Layout(layout.tensors, (replace(layout.layers[0], macs=macs),))
    for width, want in ((16, wide), (8, narrow), (4, narrow)):
        chosen, reason = choose(module, layout, (2, 8, 8), batch, width)
        assert chosen == want, reason
        assert f"{macs} multiply-adds" in reason and f"registers of {width}" in reason


@pytest.mark.parametrize(
    ("batch", "side", "fill", "want"),
    [
        (1, 32, 59, "torch"), (5, 32, 86, "kernels"), (10, 32, 96, "kernels"),
        (10, 2, 62, "torch"), (16, 2, 100, "kernels"), (20, 8, 86, "kernels"),
    ],
)  # fmt: skip
def test_the_positions_of_a_row_share_lanes(batch, side, fill, want):
    """Of a row, the first and the last position read fewer taps, so both are computed apart."""
    module = nn.Sequential(
        nn.Conv2d(2, 3, 1), nn.Conv2d(3, 4, (1, 3), padding=(0, 1)), nn.Flatten(),
        nn.Linear(4 * side * side, 4),
    )  # fmt: skip
    layout = layout_of(module, np.zeros((1, 2, side, side), np.float32))
    macs = 0, 40_000_000, 0
    layers = [replace(layer, macs=count) for layer, count in zip(layout.layers, macs, strict=True)]
    layout = Layout(layout.tensors, tuple(layers))
    chosen, reason = choose(module, layout, (2, side, side), batch, 8)
    assert chosen == want and f"{fill}% of lanes" in reason


def test_what_there_are_no_kernels_for_goes_to_torch_with_any_registers():
    module = nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.GELU())
    layout = layout_of(module, np.zeros((1, 2, 8, 8), np.float32))
    assert choose(module, layout, (2, 8, 8), 16, 16)[0] == "torch"
    assert "GELU" in choose(module, layout, (2, 8, 8), 16, 8)[1]


class Alien(Serial):
    """A rank whose run began on a processor with registers of `width` float32."""

    def __init__(self, width):
        super().__init__()
        self._width = width

    def share(self, value):
        return self._width if value == kernels.lanes.WIDTH else value


@pytest.mark.parametrize(("width", "want"), [(16, "kernels"), (8, "torch")])
def test_ranks_choose_by_the_registers_of_the_first_and_say_why(width, want):
    tree = {
        "run": {"rounds": 1},
        "data": {"name": "patterns", "side": 32, "images": 60},
        "clients": {"number": 2, "local_steps": 1, "batch_size": 23},  # 72 % of 32 lanes
        "model": {"name": "mlp", "hidden": [5500]},
    }
    engine = assemble(resolve.of_tree(tree), Alien(width), None).engine
    assert engine.name == want
    assert f"registers of {width}" in engine.facts["reason"]
    assert engine.facts["vector_width"] == kernels.lanes.WIDTH
