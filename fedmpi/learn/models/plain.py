"""Softmax regression and multilayer perceptrons."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import prod

from torch import nn


def softmax(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Return softmax regression: one linear layer."""
    return mlp(input_shape, classes, hidden=())


_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh,
}


def mlp(
    input_shape: tuple[int, ...], classes: int, hidden: Sequence[int], activation: str = "relu"
) -> nn.Sequential:
    """Return linear layers of `hidden` units with activations, then a linear layer to `classes`."""
    parts: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    inputs = prod(input_shape)
    for number, units in enumerate(hidden, 1):
        parts[f"fc{number}"] = nn.Linear(inputs, units)
        parts[f"{activation}{number}"] = _ACTIVATIONS[activation]()
        inputs = units
    parts[f"fc{len(hidden) + 1}"] = nn.Linear(inputs, classes)
    return nn.Sequential(parts)


def fedskel_mlp(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Return the MLP of FedSkel's code, 784-512-256-256-128-10."""
    return mlp(input_shape, classes, hidden=(512, 256, 256, 128))


def fedlp_mlp(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Return the MLP of FedLP's code, 784-512-128-128-64-32-10."""
    return mlp(input_shape, classes, hidden=(512, 128, 128, 64, 32))
