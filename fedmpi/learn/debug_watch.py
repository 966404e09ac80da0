"""The inputs and outputs of each layer in a pass of the debug engine, with their gradients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from fedmpi.layout import Layout
from fedmpi.learn.kinds import kind_of
from fedmpi.learn.layout_of import layer_modules

Seen: TypeAlias = list[list[tuple[Tensor, Tensor]]]
"""For each layer and each of its calls: (input, output)."""


@contextmanager
def watched(module: nn.Module, layout: Layout) -> Iterator[Seen]:
    """Collect the input and output of each call of a layer in this block; `.grad` comes later."""
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
    """Give a layer a copy of its input, so that the copy's gradient is due to this layer alone."""
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
    """Return the gradient of `values`: 0 if the loss does not depend on them."""
    return torch.zeros_like(values) if values.grad is None else values.grad


def summed(values: Tensor, axis: int) -> Tensor:
    """Return float64[n]: the sum of `values` over all axes except `axis`."""
    return values.double().sum([other for other in range(values.dim()) if other != axis])
