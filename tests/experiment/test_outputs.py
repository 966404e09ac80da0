"""Outputs that are probabilities, before a loss that makes probabilities of them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import fedmpi
from fedmpi.comm.base import Serial
from fedmpi.errors import ConfigError
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import of_tree
from fedmpi.learn.fitness import check_last

LAST = {"none": nn.Identity(), "softmax": nn.Softmax(1), "log": nn.LogSoftmax(1),
        "sigmoid": nn.Sigmoid(), "relu": nn.ReLU()}  # fmt: skip


class Functional(nn.Module):
    """A linear layer, and a softmax that is no layer."""

    def __init__(self, inputs, classes):
        super().__init__()
        self.last = nn.Linear(inputs, classes)

    def forward(self, x):
        return functional.softmax(self.last(x.flatten(1)), dim=1)


@fedmpi.model
def ended(input_shape, classes, last="none"):
    """A linear layer, and the module of LAST."""
    inputs = int(np.prod(input_shape))
    if last == "function":
        return Functional(inputs, classes)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes), LAST[last])


@fedmpi.loss
def of_probabilities(outputs, targets):
    """Cross-entropy of probabilities."""
    return functional.nll_loss(torch.log(outputs + 1e-9), targets)


def made(**model):
    tree = {"clients": {"number": 5}, "model": {"name": f"{__name__}:ended"} | model}
    return assemble(of_tree(tree), Serial(), None)


@pytest.mark.parametrize("last", ["softmax", "function"])
@pytest.mark.parametrize("loss", ["cross-entropy", "softmax-quadratic"])
def test_a_softmax_before_a_loss_with_a_softmax_is_refused(last, loss):
    with pytest.raises(ConfigError, match=f"gives probabilities.*model.loss = '{loss}'.*leave"):
        made(last=last, loss=loss)


@pytest.mark.parametrize("last", ["none", "log", "sigmoid", "relu"])
def test_other_last_layers_are_taken(last):
    assert made(last=last).engine.layout.size == 650


@pytest.mark.parametrize("loss", ["sigmoid-quadratic", f"{__name__}:of_probabilities"])
def test_a_loss_that_takes_no_softmax_takes_probabilities(loss):
    assert made(last="softmax", loss=loss).config.model.loss == loss


@pytest.mark.parametrize("loss", ["bce", "sigmoid-linear"])
def test_a_chain_with_a_sigmoid_before_a_loss_with_a_sigmoid_is_refused(loss):
    for inner in (nn.Sequential(nn.Linear(4, 2), nn.Sigmoid()), nn.Sigmoid()):
        with pytest.raises(ConfigError, match=f"ends with a Sigmoid, and model.loss = '{loss}'"):
            check_last(nn.Sequential(nn.Linear(4, 4), inner), loss)
    check_last(nn.Sequential(nn.Sigmoid(), nn.Linear(4, 2)), loss)
    check_last(nn.Sequential(nn.Linear(4, 2), nn.Sigmoid()), "mse")


def test_it_is_refused_where_a_run_is_assembled():
    with pytest.raises(ConfigError, match=r"ends with a Sigmoid.*leave the last layer out"):
        made(last="sigmoid", loss="sigmoid-quadratic")


LOSSES = {
    "returned None; it must return a torch tensor": lambda outputs, y: None,
    "returned a float; it must return a torch tensor": lambda outputs, y: 0.5,
    "returned a tensor of shape [2] for 2 samples; it must return the mean":
        lambda outputs, y: functional.cross_entropy(outputs, y, reduction="none"),
    "returned a tensor without a gradient; leave out detach()":
        lambda outputs, y: functional.cross_entropy(outputs.detach(), y),
    "is twice as large for a sample taken twice, as a sum over the batch is; return the mean":
        lambda outputs, y: functional.cross_entropy(outputs, y, reduction="sum"),
    "RuntimeError: Can't call numpy() on Tensor": lambda outputs, y: outputs.numpy().mean(),
}  # fmt: skip


@pytest.mark.parametrize("said", LOSSES)
def test_a_loss_that_is_no_mean_with_a_gradient_is_refused_before_training(said, monkeypatch):
    monkeypatch.setattr(f"{__name__}.mine", fedmpi.loss(LOSSES[said]), raising=False)
    LOSSES[said].__module__ = __name__
    with pytest.raises(ConfigError) as caught:
        made(loss=f"{__name__}:mine")
    assert str(caught.value).startswith(f"model.loss = '{__name__}:mine': {said}")


@pytest.mark.parametrize("weight", [None, torch.arange(1.0, 11.0)])
def test_a_mean_with_or_without_weights_is_taken(weight, monkeypatch):
    def mean(outputs, y):
        return functional.cross_entropy(outputs, y, weight)

    mean.__module__ = __name__
    monkeypatch.setattr(f"{__name__}.mine", fedmpi.loss(mean), raising=False)
    assert made(loss=f"{__name__}:mine").config.model.loss == f"{__name__}:mine"
