"""Outputs that are probabilities, before a loss that makes probabilities of them."""

from functools import partial

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
FUNCTIONS = {"function": partial(functional.softmax, dim=1), "in forward": torch.sigmoid}


class Functional(nn.Module):
    """A linear layer, and a function that is no layer."""

    def __init__(self, inputs, classes, function):
        super().__init__()
        self.last, self.function = nn.Linear(inputs, classes), function

    def forward(self, x):
        return self.function(self.last(x.flatten(1)))


@fedmpi.model
def ended(input_shape, classes, last="none"):
    """A linear layer, and the module of LAST."""
    inputs = int(np.prod(input_shape))
    if last in FUNCTIONS:
        return Functional(inputs, classes, FUNCTIONS[last])
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


ENDS = {
    "a sigmoid": lambda x: torch.sigmoid(x),
    "a sigmoid in place": lambda x: x.clone().sigmoid_(),
    "a sigmoid of each half": lambda x: torch.cat([half.sigmoid() for half in x.chunk(2, 1)], 1),
    "a sigmoid that is turned and sized": lambda x: x.T.sigmoid().mT.unsqueeze(0).reshape(x.shape),
    "a sigmoid with breaks": functional.hardsigmoid,
    "a softmax": lambda x: functional.softmax(x, 1),
    "a log-softmax": lambda x: functional.log_softmax(x, 1),
    "a log-sigmoid": functional.logsigmoid,
    "a module": nn.Sigmoid(),
    "a chain": nn.Sequential(nn.Linear(10, 10), nn.Sequential(nn.Sigmoid())),
    "a wider sigmoid": lambda x: 20 * x.sigmoid() - 10,
    "a gate": lambda x: x * x.sigmoid(),
    "a sigmoid and a plain half": lambda x: torch.cat([x[:, :5].sigmoid(), x[:, 5:]], 1),
    "a hyperbolic tangent": lambda x: 5 * torch.tanh(x),
}
SIGMOIDS = [end for end in ENDS if end.startswith("a sigmoid ") and "plain" not in end]
SIGMOIDS += ["a sigmoid", "a module", "a chain"]
ONE_SIGN = ["a softmax", "a log-softmax", "a log-sigmoid"]
RIGHT = [end for end in ENDS if end not in SIGMOIDS + ONE_SIGN]


class Ended(nn.Module):
    """A linear layer, and an end of ENDS."""

    def __init__(self, end):
        super().__init__()
        self.first, self.end = nn.Linear(4, 10), ENDS[end]

    def forward(self, x):
        return self.end(self.first(x))


def look(end, loss):
    """Look at the last operation of a model before a loss."""
    check_last(lambda: Ended(end), torch.ones(1, 4), loss)


@pytest.mark.parametrize(("end", "loss"), [
    *((end, loss) for end in SIGMOIDS for loss in ("bce", "sigmoid-quadratic", "sigmoid-linear")),
    *((end, "bce") for end in ONE_SIGN)])
def test_a_sigmoid_before_a_loss_with_a_sigmoid_is_refused_wherever_it_is_taken(end, loss):
    with pytest.raises(ConfigError, match=f"ends with a .*, and model.loss = '{loss}' takes the "
                       "sigmoid.*; leave the .* out, or let a loss of your own"):
        look(end, loss)


@pytest.mark.parametrize(("end", "loss"), [
    *((end, "bce") for end in RIGHT), *((end, "mse") for end in ENDS),
    *((end, "sigmoid-linear") for end in ONE_SIGN), *((end, "cross-entropy") for end in ENDS)])
def test_a_last_operation_that_suits_the_loss_is_taken(end, loss):
    look(end, loss)


@pytest.mark.parametrize("last", ["sigmoid", "in forward"])
@pytest.mark.parametrize("engine", ["auto", "batched", "debug"])
def test_it_is_refused_where_a_run_is_assembled(last, engine):
    tree = {"clients": {"number": 5}, "run": {"engine": engine},
            "model": {"name": f"{__name__}:ended", "last": last, "loss": "sigmoid-quadratic"}}
    with pytest.raises(ConfigError, match=r"ends with a sigmoid.*; leave the sigmoid out"):
        assemble(of_tree(tree), Serial(), None)


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
