"""What a network's outputs are measured by: the mean over a batch of one number per sample."""

import torch
from torch import Tensor
from torch.nn import functional

from fedmpi.arrays import Bools


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
    """Return the mean of sum (t - o)^2, with o = softmax(outputs) and t the class as 0s and a 1."""
    return _miss(outputs.softmax(1), y).square().sum(1).mean()


def softmax_linear(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean of sum |t - o|; its derivative does not vanish as o comes near t."""
    return _miss(outputs.softmax(1), y).abs().sum(1).mean()


def sigmoid_quadratic(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean of sum (t - o)^2, with o = sigmoid(outputs)."""
    return _miss(outputs.sigmoid(), y).square().sum(1).mean()


def sigmoid_linear(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean of sum |t - o|, with o = sigmoid(outputs)."""
    return _miss(outputs.sigmoid(), y).abs().sum(1).mean()


def of_labels(outputs: Tensor, labels: Bools | None) -> Tensor:
    """Return outputs float32[N, C] with 0 for the classes not in bool[C] `labels`; None for all."""
    if labels is None:
        return outputs
    return outputs.masked_fill(~torch.from_numpy(labels), 0.0)


def _miss(activity: Tensor, y: Tensor) -> Tensor:
    return functional.one_hot(y, activity.shape[1]) - activity

