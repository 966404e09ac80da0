"""Artificial outputs and targets, for trial passes and for measuring memory before training."""

import torch
from torch import Tensor

from fedmpi.errors import ConfigError
from fedmpi.learn.losses import loss_of

_AXES = {
    "class": ("N", "classes"),
    "tokens": ("N", "T", "tokens"),
    "labels": ("N", "labels"),
    "numbers": ("N", "numbers"),
}


def first_targets(loss: str, outputs: Tensor) -> Tensor:
    """Return varied targets for `outputs` [N, ...], of the kind that a loss takes.

    Raises ConfigError if the outputs have another number of axes than the loss needs.
    """
    target = loss_of(loss).target
    if outputs.dim() != len(_AXES[target]):
        shape = ", ".join(["N", *map(str, outputs.shape[1:])])
        raise ConfigError(
            f"model: gives outputs of shape [{shape}], and model.loss = {loss!r} needs "
            f"[{', '.join(_AXES[target])}]"
        )
    if target in ("class", "tokens"):
        places = torch.arange(outputs[..., 0].numel(), device=outputs.device)
        return (places % outputs.shape[-1]).view(outputs.shape[:-1])
    places = torch.arange(outputs.numel(), device=outputs.device)
    return (places % 2).float().view(outputs.shape)


def first_outputs(outputs: Tensor, count: int) -> Tensor:
    """Return float32[count, ...] with the shape of `outputs` [N, ...] and all samples different."""
    shape = count, *outputs.shape[1:]
    places = torch.arange(outputs[0].numel() * count, device=outputs.device)
    return places.float().sin().view(shape)
