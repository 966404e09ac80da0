"""Activations and relevance of layers for which there are no kernels, by every engine."""

import numpy as np
import pytest
import torch
from torch import nn

from fedmpi.errors import ConfigError
from fedmpi.learn.kinds import kind_of
from fedmpi.learn.layout_of import layer_modules
from fedmpi.learn.lora import Lora
from fedmpi.plan import Backward
from tests.learn.test_mechanisms import (
    CLASSES,
    OTHERS,
    chain,
    close,
    compare,
    engine,
    plan_of,
    reports,
    seeded,
)  # fmt: skip


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


class Tempered(nn.Module):
    """A parameter of its own beside a child with the name "model", which is a layer."""

    def __init__(self):
        super().__init__()
        self.scale, self.model = nn.Parameter(torch.tensor([2.0])), nn.Linear(72, CLASSES)

    def forward(self, x):
        return self.model(x.flatten(1)) * self.scale


@pytest.mark.parametrize("name", ["torch", "batched", "stacked"])
@pytest.mark.parametrize("build", [adapted, Embedded, Tempered])
def test_activations_of_layers_without_kernels_are_measured_alike(name, build):
    mine, debug = engine(name, build), engine("debug", build)
    plan = plan_of(mine.layout, statistics=("activations",))
    compare(reports(mine, plan), reports(debug, plan))


def test_a_child_named_model_is_another_layer_than_the_model_itself():
    made = engine("debug", Tempered)
    assert [layer.name for layer in made.layout.layers] == ["whole model", "model"]
    whole, child = layer_modules(module := Tempered(), made.layout)
    assert whole == [module] and child == [module.model]


def single():
    """Two layers of one unit."""
    return nn.Sequential(
        nn.Conv2d(2, 1, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 1), nn.Linear(1, CLASSES)
    )


@pytest.mark.parametrize("name", OTHERS)
def test_a_unit_alone_in_its_layer_has_its_relevance(name):
    mine, debug = engine(name, single), engine("debug", single)
    plan = plan_of(mine.layout, statistics=("relevance",))
    found = reports(mine, plan)
    compare(found, reports(debug, plan))
    assert found[0].statistics["relevance"][0].any()


def frozen(*names):
    """Return a function that builds a chain with the parameters of these names frozen."""

    def build():
        made = chain()
        for name in names:
            made.get_parameter(name).requires_grad_(False)
        return made

    return build


def tied():
    """Two linear layers with the same weight."""
    made = nn.Sequential(
        nn.Flatten(), nn.Linear(72, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(),
        nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, CLASSES),
    )  # fmt: skip
    made[5].weight = made[3].weight
    return made


class Scaled(nn.Linear):
    """A linear layer with a scale for each unit besides."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.scale = nn.Parameter(1.0 + torch.arange(outputs))

    def forward(self, x):
        return super().forward(x) * self.scale


def scaled():
    return nn.Sequential(nn.Flatten(), Scaled(72, 6), nn.ReLU(), nn.Linear(6, CLASSES))


BIAS, WEIGHT = frozen("0.bias", "7.bias"), frozen("4.weight", "7.weight", "9.bias")


@pytest.mark.parametrize("name", ["torch", "batched", "stacked"])
@pytest.mark.parametrize("build", [BIAS, WEIGHT, tied, scaled])
def test_relevance_is_of_all_that_makes_an_output_frozen_or_shared(name, build):
    mine, debug = engine(name, build), engine("debug", build)
    rows = (*(np.arange(layer.rows) % 3 != 1 for layer in mine.layout.layers[:-1]), None)
    for how in ({}, {"backward": Backward(rows)}, {"backward": Backward(lowest=1)}):
        plan = plan_of(mine.layout, statistics=("relevance", "activations"), **how)
        compare(reports(mine, plan), reports(debug, plan))


@pytest.mark.parametrize("build", [single, BIAS, WEIGHT, scaled])
def test_relevance_is_the_derivative_by_a_gate_on_the_outputs(build):
    """The gates of Mozer and Smolensky: all are at 1."""
    made = engine("debug", build)
    plan = plan_of(made.layout, statistics=("relevance",), steps=1)
    (report,) = reports(made, plan, ((1, 0),))
    module = seeded(build).train()
    gates = [torch.ones(layer.rows, requires_grad=True) for layer in made.layout.layers]
    for gate, parts in zip(gates, layer_modules(module, made.layout), strict=True):
        by = gate.view((-1, 1, 1) if kind_of(parts[0]) == "conv" else (-1,))
        parts[0].register_forward_hook(lambda part, x, out, by=by: out * by)
    ((x, y),) = made.data.blocks(1)
    loss = nn.functional.cross_entropy(module(torch.tensor(x)), torch.tensor(y), reduction="sum")
    expected = torch.autograd.grad(-loss, gates)
    close(np.concatenate(report.statistics["relevance"]), torch.cat(expected).numpy())


def transposed():
    return nn.Sequential(
        nn.ConvTranspose2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(192, CLASSES)
    )


def grouped():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(64, CLASSES)
    )


@pytest.mark.parametrize("name", ["torch", "batched", "stacked", "debug"])
@pytest.mark.parametrize(
    ("build", "why"),
    [
        (grouped, "layer 0 has 2 groups"),
        (transposed, "layer 0, a ConvTranspose2d, have no columns"),
        (WEIGHT, "the weight of layer 4 is frozen or shared"),
        (tied, "the weight of layer 3 is frozen or shared"),
    ],
)
def test_columns_of_weights_that_have_none_are_refused(name, build, why):
    made = engine(name, build)
    plan = plan_of(made.layout, statistics=("columns",))
    with pytest.raises(ConfigError, match=rf"model: .*{why}.*'columns'.*groups = 1"):
        reports(made, plan)
