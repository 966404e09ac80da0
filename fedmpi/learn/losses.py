"""The losses by name. Torch is loaded only for losses of tokens and of the user's code.

A loss compares the outputs of a model with the targets of a data set, which are of one kind:

class    int64[N], and outputs float32[N, C]
tokens   int64[N, T], and outputs float32[N, T, C]
labels   float32[N, L] of zeros and ones, any number of ones, and outputs float32[N, L]
numbers  float32[N, D], and outputs float32[N, D]
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedmpi.arrays import AnyArray, Integers, Reals, Vector
from fedmpi.errors import ConfigError
from fedmpi.registry import Entry, Registry

_HERE = "fedmpi.learn.loss_functions:"
KINDS = {
    "class": "classes",
    "tokens": "tokens",
    "labels": "labels of 0 or 1",
    "numbers": "numbers",
}
TARGETS = tuple(KINDS)


@dataclass(frozen=True)
class Loss(Entry):
    """A function (outputs, targets) that returns the mean over a batch, a tensor of one number.

    `target` is the kind of the targets, one of TARGETS.
    """

    target: str = "class"

    def __call__(self, outputs: Any, targets: Any) -> Any:
        """Return the loss of a batch of torch tensors."""
        return self.make(outputs, targets)


LOSSES = Registry(
    "loss",
    "model.loss",
    "a function (outputs, targets) with the decorator @fedmpi.loss",
    {
        "cross-entropy": Loss("cross-entropy of the right class", _HERE + "cross_entropy"),
        "next-token": Loss(
            "cross-entropy of each token that follows", _HERE + "next_token", target="tokens"
        ),
        "bce": Loss("binary cross-entropy of each label", _HERE + "bce", target="labels"),
        "mse": Loss("mean squared error of numbers", _HERE + "mse", target="numbers"),
        "softmax-quadratic": Loss("squared error of softmax", _HERE + "softmax_quadratic"),
        "softmax-linear": Loss("absolute error of softmax", _HERE + "softmax_linear"),
        "sigmoid-quadratic": Loss("squared error of sigmoid", _HERE + "sigmoid_quadratic"),
        "sigmoid-linear": Loss("absolute error of sigmoid", _HERE + "sigmoid_linear"),
    },
)
OF_CLASSES = tuple(name for name, found in LOSSES.items() if found.target == "class")
"""The losses that a Plan may choose instead of the run's."""


def loss(function: Any = None, *, target: str = "class") -> Any:
    """Mark a function (outputs, targets) of the user's code as a loss; a decorator.

    The function takes torch tensors and returns the mean over the batch. `target` is one of
    TARGETS.
    """
    if isinstance(function, str) and function in TARGETS:
        raise ConfigError(f"@fedmpi.loss({function!r}): write @fedmpi.loss(target={function!r})")
    if target not in TARGETS:
        raise ConfigError(f"fedmpi.loss: target {target!r}: must be one of {', '.join(TARGETS)}")
    if function is None:
        return lambda marked: loss(marked, target=target)
    summary = (function.__doc__ or "").strip().partition("\n")[0]
    entry = Loss(summary, function, None, ("outputs", "targets"), target)
    return LOSSES.mark(function, entry=entry)


def loss_of(name: str) -> Loss:
    """Return the Loss with this name, which must have been checked before."""
    found: Loss = LOSSES.find(name)
    return found


def cross_entropies(outputs: AnyArray, targets: Integers) -> Reals:
    """Return float64[N]: -log softmax(outputs)[targets] of float64[N, C] and int64[N]."""
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    found: Reals = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(targets)), targets]
    return found


def softmax(outputs: Reals) -> Reals:
    """Return float64[n, C]: exp(outputs), with each row divided by its sum."""
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    found: Reals = powers / powers.sum(axis=1, keepdims=True)
    return found


def _sigmoid(outputs: Reals) -> Reals:
    small = np.exp(-np.abs(outputs))
    return np.asarray(np.where(outputs > 0, 1, small) / (1 + small))


def _binary(outputs: Reals, targets: Vector) -> Reals:
    small = np.log1p(np.exp(-np.abs(outputs)))
    return np.asarray(np.maximum(outputs, 0) - outputs * targets + small)


def _misses(activities: Reals, targets: Integers) -> Reals:
    found = activities.copy()
    found[np.arange(len(targets)), targets] -= 1
    return found


_ERRORS: dict[str, Callable[[Reals, Any], Reals]] = {
    "cross-entropy": cross_entropies,
    "bce": _binary,
    "mse": lambda outputs, y: (outputs - y) ** 2,
    "softmax-quadratic": lambda outputs, y: (_misses(softmax(outputs), y) ** 2).sum(axis=1),
    "softmax-linear": lambda outputs, y: np.abs(_misses(softmax(outputs), y)).sum(axis=1),
    "sigmoid-quadratic": lambda outputs, y: (_misses(_sigmoid(outputs), y) ** 2).sum(axis=1),
    "sigmoid-linear": lambda outputs, y: np.abs(_misses(_sigmoid(outputs), y)).sum(axis=1),
}
"""The losses that need no torch, as functions from float64 outputs to numbers to average."""


def mean_loss(name: str, outputs: AnyArray, targets: AnyArray) -> float:
    """Return the loss of a batch of arrays; torch computes losses of tokens and of users' code.

    It is computed in float64. Only a loss of the user's code gets float32, as in training, since
    it may use float32 tensors of its own.
    """
    if name in _ERRORS:
        return float(_ERRORS[name](outputs.astype(np.float64), targets).mean())
    from fedmpi.learn.loss_functions import value_of  # needs torch

    return value_of(name, outputs, targets)
