"""The loss functions of torch, each the mean over a batch of one number per sample."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fedmpi import user_code
from fedmpi.arrays import AnyArray, Bools, Vector
from fedmpi.errors import ConfigError
from fedmpi.learn.losses import loss_of


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean of -log softmax(outputs)[y], for outputs float32[N, C] and y int64[N]."""
    return functional.cross_entropy(outputs, y)


def next_token(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean of -log softmax(outputs)[y], for outputs float32[N, T, C], y int64[N, T]."""
    return functional.cross_entropy(outputs.flatten(0, 1), y.flatten())


def bce(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean over samples and labels of the cross-entropy of sigmoid(outputs) and y."""
    return functional.binary_cross_entropy_with_logits(outputs, y.to(outputs.dtype))


def mse(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean over samples and numbers of (outputs - y)^2."""
    return functional.mse_loss(outputs, y.to(outputs.dtype))


def softmax_quadratic(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean of sum (t - o)^2, with o = softmax(outputs) and t the one-hot class."""
    return _miss(outputs.softmax(1), y).square().sum(1).mean()


def softmax_linear(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean of sum |t - o|; its derivative does not vanish as o approaches t."""
    return _miss(outputs.softmax(1), y).abs().sum(1).mean()


def sigmoid_quadratic(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean of sum (t - o)^2, with o = sigmoid(outputs)."""
    return _miss(outputs.sigmoid(), y).square().sum(1).mean()


def sigmoid_linear(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean of sum |t - o|, with o = sigmoid(outputs)."""
    return _miss(outputs.sigmoid(), y).abs().sum(1).mean()


def value_of(name: str, outputs: AnyArray, y: AnyArray) -> float:
    """Return a loss by its name, in float32 if it is the user's, else in float64."""
    kind = torch.float32 if ":" in name else torch.float64
    with one_thread():
        return float(loss_of(name)(torch.tensor(outputs, dtype=kind), torch.tensor(y)))


def with_gradient(name: str, outputs: Vector, y: AnyArray) -> tuple[float, Vector]:
    """Return a loss by its name, and its gradient float32[N, D] at float32[N, D] `outputs`."""
    given = torch.tensor(np.ascontiguousarray(outputs)).requires_grad_()  # draws follow the order
    with one_thread():
        loss = loss_of(name)(given.clone(), torch.tensor(y))  # it may write to its argument
        (gradient,) = torch.autograd.grad(loss, given, allow_unused=True)
    found: Vector = (torch.zeros_like(given) if gradient is None else gradient).numpy()
    return float(loss.item()), found


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use a single thread, since bits depend on the number, which ranks may limit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def check_own(name: str, outputs: AnyArray, y: AnyArray) -> None:
    """Raise ConfigError unless a user's loss returns one number per batch, with a gradient.

    `name` is that of the loss; `outputs` and `y` belong to one sample, which is used twice.
    """
    place = f"model.loss = {name!r}"
    one, target = torch.tensor(outputs, dtype=torch.float32), torch.tensor(y)
    given = torch.cat([one, one]).requires_grad_()
    with user_code.config_error_at(place):
        found, alone = loss_of(name)(given, torch.cat([target, target])), loss_of(name)(one, target)
    if not isinstance(found, Tensor):
        kind = "None" if found is None else f"a {type(found).__name__}"
        raise ConfigError(f"{place}: returned {kind}; it must return a torch tensor, the mean over "
                          "the batch")
    if found.numel() != 1:
        raise ConfigError(f"{place}: returned a tensor of shape {list(found.shape)} for 2 samples; "
                          "it must return the mean over the batch, one number")
    if not found.requires_grad:
        raise ConfigError(f"{place}: returned a tensor without a gradient; leave out detach(), "
                          "torch.no_grad(), numpy and argmax between the outputs and the loss")
    if alone.item() and np.isclose(found.item(), 2 * alone.item(), rtol=1e-5):
        raise ConfigError(f"{place}: is twice as large for a sample taken twice, as a sum over the "
                          "batch is; return the mean")


def of_labels(outputs: Tensor, labels: Bools | None) -> Tensor:
    """Return outputs float32[N, C] with 0 where `labels` bool[C] is False; None keeps all."""
    if labels is None:
        return outputs
    return outputs.masked_fill(~torch.from_numpy(labels), 0.0)


def _miss(activity: Tensor, y: Tensor) -> Tensor:
    return functional.one_hot(y, activity.shape[1]) - activity

