"""What the debug engine sees of a pass: what each layer reads and gives, with the gradients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from fedmpi.layout import Layout
from fedmpi.learn.kinds import kind_of
from fedmpi.learn.layout_of import layer_modules

Seen: TypeAlias = list[list[tuple[Tensor, Tensor]]]
"""By layer, of each call: what it read and what it gave."""


@contextmanager
def watched(module: nn.Module, layout: Layout) -> Iterator[Seen]:
    """Collect what each call of a layer reads and gives in this block, later with `.grad`."""
    seen: Seen = [[] for _ in layout.layers]
    handles = []
    for number, parts in enumerate(layer_modules(module, layout)):
        kind = kind_of(parts[0])
        if kind in ("conv", "linear", "norm", "adapter"):
            handles.append(parts[0].register_forward_pre_hook(_read_alone))
        if kind in ("conv", "linear", "norm", "adapter", "bilinear"):
            handles.append(parts[0].register_forward_hook(_noting(seen, number)))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _read_alone(part: nn.Module, inputs: Any) -> Any:
    """Let a layer read a copy of its input, so that the gradient is of this reading alone."""
    alone = inputs[0].clone()
    if not alone.requires_grad:
        alone.requires_grad_()
    alone.retain_grad()
    return (alone,)


def _noting(seen: Seen, number: int) -> Callable[[nn.Module, Any, Any], None]:
    def hook(part: nn.Module, inputs: Any, output: Any) -> None:
        output.retain_grad()
        seen[number].append((inputs[0], output))

    return hook


def gradient_of(values: Tensor) -> Tensor:
    """Return the gradient: 0 where the loss does not depend on the values at all."""
    return torch.zeros_like(values) if values.grad is None else values.grad


def summed(values: Tensor, axis: int) -> Tensor:
    """Return float64[n]: the sum over all axes but one."""
    return values.double().sum([other for other in range(values.dim()) if other != axis])
