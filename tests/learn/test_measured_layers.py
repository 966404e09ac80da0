"""Activations of layers for which there are no kernels, by every engine."""

import numpy as np
import pytest
from torch import nn

from fedmpi.learn.lora import Lora
from tests.learn.test_mechanisms import CLASSES, compare, engine, plan_of, reports


def adapted():
    """A frozen linear layer with an adapter, of which both halves are one layer."""
    base = nn.Linear(72, 6).requires_grad_(False)
    lora = Lora(base, 3, 1.0, np.random.default_rng(0))
    return nn.Sequential(nn.Flatten(), lora, nn.ReLU(), nn.Linear(6, CLASSES))


class Embedded(nn.Module):
    """A layer whose outputs are not measured, and one that is called twice."""

    def __init__(self):
        super().__init__()
        self.table, self.twice = nn.Embedding(5, 4), nn.Linear(4, 4)
        self.last = nn.Linear(4 * 72, CLASSES)

    def forward(self, x):
        read = self.table((3 * x.abs()).long().clamp(0, 4))
        return self.last(self.twice(self.twice(read)).flatten(1))


@pytest.mark.parametrize("name", ["torch", "batched", "stacked"])
@pytest.mark.parametrize("build", [adapted, Embedded])
def test_activations_of_layers_without_kernels_are_measured_alike(name, build):
    mine, debug = engine(name, build), engine("debug", build)
    plan = plan_of(mine.layout, statistics=("activations",))
    compare(reports(mine, plan), reports(debug, plan))
