"""The constants of a module: frozen weights and norms, and buffers that are restored."""

from collections.abc import Iterable
from fnmatch import filter as matching
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fedmpi.arrays import AnyArray
from fedmpi.errors import ConfigError, nearest
from fedmpi.layout import Layout
from fedmpi.learn.kinds import is_frozen_norm


def freeze(module: nn.Module, patterns: Iterable[str]) -> None:
    """Make constants of the parameters and buffers that match any glob of `patterns`, in place.

    Raises ConfigError for a pattern that matches nothing.
    """
    state = dict(module.named_parameters(remove_duplicate=False))
    buffers = dict(module.named_buffers(remove_duplicate=False))
    names = [*state, *buffers]
    for pattern in patterns:
        found = matching(names, pattern)
        if not found:
            raise ConfigError(
                f"model.frozen = {pattern!r}: names no parameter; {nearest(pattern, names)}"
            )
        for name in found:
            if name in state:
                state[name].requires_grad_(False)
                continue
            owner, _, own = name.rpartition(".")
            module.get_submodule(owner)._non_persistent_buffers_set.add(own)


def frozen_parameters(module: nn.Module) -> dict[str, AnyArray]:
    """Return {name: array} of the parameters that are constants; the arrays are not copies."""
    named = module.named_parameters()
    return {name: p.detach().numpy() for name, p in named if not p.requires_grad}


class Constants:
    """A copy of the buffers of a module that are not in its layout.

    A forward pass may change such a buffer, for example a counter of calls. Restoring them keeps
    one client from seeing the changes of another.
    """

    def __init__(self, module: nn.Module, layout: Layout) -> None:
        laid_out = set(layout.names)
        self._kept = [
            (part, name, values.clone())
            for prefix, part in module.named_modules()
            for name, values in part.named_buffers(recurse=False)
            if (f"{prefix}.{name}" if prefix else name) not in laid_out
        ]

    def restore(self) -> None:
        """Set the buffers back to the copied values."""
        for part, name, values in self._kept:
            held = getattr(part, name)
            if held.shape == values.shape and held.dtype == values.dtype:
                held.copy_(values)
            else:
                setattr(part, name, values.clone())


class Training:
    """Puts a module into training mode, but keeps its frozen norms in evaluation mode.

    `module` is changed in place. It begins in training mode, whatever the modes in which its parts
    were built, so that its first pass is like passes after an evaluation. A BatchNorm that sees a
    single value per channel, which torch refuses, takes the value as the mean and 0 as the
    variance, as the kernels do. So its output is the shift, and its running statistics move towards
    this mean and variance.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._frozen = [part for part in module.modules() if is_frozen_norm(part)]
        for part in module.modules():
            if is_plain_norm(part):
                vars(part)["forward"] = partial(_normalised, part)
        module.train()

    def on(self) -> None:
        """Put the module into training mode."""
        if not self._module.training:
            self._module.train()
        for part in self._frozen:
            part.eval()


def is_replaced(part: nn.Module) -> bool:
    """Return True if the forward pass of this single module has been replaced."""
    return "forward" in vars(part)


def is_plain_norm(part: nn.Module) -> bool:
    """Return True for a BatchNorm with torch's own forward pass."""
    return type(part).forward is _BatchNorm.forward and not is_replaced(part)


def is_own_norm(part: nn.Module) -> bool:
    """Return True for a BatchNorm with a forward pass of the user's."""
    return isinstance(part, _BatchNorm) and not is_plain_norm(part)


def _normalised(part: Any, x: torch.Tensor) -> torch.Tensor:
    """Return the output of a BatchNorm, also for a single value per channel."""
    if not (part.training and x.numel() == x.shape[1]):
        return _BatchNorm.forward(part, x)
    if part.track_running_stats:
        part.running_mean.lerp_(x.detach().reshape(-1), part.momentum)
        part.running_var.mul_(1 - part.momentum)
    shape = [1, -1] + [1] * (x.dim() - 2)
    if part.weight is None and part.bias is None:
        # Zeros that still depend on x, so that the output can be differentiated.
        return x.masked_fill(torch.ones_like(x, dtype=torch.bool), 0)
    centred = torch.zeros_like(x)
    if part.weight is not None:
        centred = centred * part.weight.view(shape)
    return centred if part.bias is None else centred + part.bias.view(shape)
