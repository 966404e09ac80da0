"""Layers whose output is no plain tensor with axes: numbers, dicts, and tuples that hold None."""

import numpy as np
import pytest
import torch
from torch import nn

from fedmpi.plan import Backward
from tests.learn.any_models import Net, tokens
from tests.learn.test_any_model import close, engine, reports


class Temperature(nn.Module):
    """Gives a single number."""

    def __init__(self):
        super().__init__()
        self.log = nn.Parameter(torch.tensor(0.3))

    def forward(self):
        return self.log.exp()


class Wrapped(nn.Module):
    """A linear map whose result is wrapped by a function."""

    def __init__(self, wrap):
        super().__init__()
        self.wrap, self.map = wrap, nn.Parameter(torch.randn(8, 64) / 8)

    def forward(self, x):
        return self.wrap(x @ self.map.T)


def wrapped(wrap, opened):
    return Net(
        lambda net, x: net.head(opened(net.inner(x.flatten(1)))),
        inner=Wrapped(wrap), head=nn.Linear(8, 10),
    )  # fmt: skip


BUILD = {
    "number": lambda: Net(
        lambda net, x: net.head(x.flatten(1)) * net.scale(),
        head=nn.Linear(64, 10), scale=Temperature(),
    ),
    "dict": lambda: wrapped(lambda y: {"y": y}, lambda found: found["y"]),
    "None first": lambda: wrapped(lambda y: (None, [y]), lambda found: found[1][0]),
    "last state": lambda: Net(
        lambda net, x: net.head(net.lstm(net.inputs(tokens(x)))[1][0][0]),
        inputs=nn.Linear(8, 6), lstm=nn.LSTM(6, 5, batch_first=True), head=nn.Linear(5, 10),
    ),
}  # fmt: skip


def made(name, kind, **how):
    def make():
        torch.manual_seed(3)
        return BUILD[kind]()

    return engine(name, make, (5, 3), **how)


@pytest.mark.parametrize("kind", BUILD)
@pytest.mark.parametrize("name", ["torch", "batched", "debug"])
def test_layers_may_give_anything_and_be_left_out(name, kind):
    mine, debug = made(name, kind), made("debug", kind)
    layers = mine.layout.layers
    for left_out in (None, *range(len(layers))):
        rows = [None] * len(layers)
        if left_out is not None:
            rows[left_out] = np.zeros(layers[left_out].rows, bool)
        plan = {"backward": Backward(None if left_out is None else tuple(rows))}
        found, wanted = reports(mine, **plan)[0], reports(debug, **plan)[0]
        close(found.weights, wanted.weights)
        for number, tensors in enumerate(mine.layout.layer_tensors):
            block = mine.layout.tensors[tensors[0]].block
            still = np.array_equal(found.weights[block], mine.initial_weights[block])
            assert still if number == left_out else not still or left_out is not None


def test_all_clients_at_once_take_layers_that_give_anything():
    for kind in ("number", "dict", "None first"):
        one, all_ = (made("batched", kind, stacked=stacked) for stacked in (False, True))
        close(reports(all_)[0].weights, reports(one)[0].weights)
