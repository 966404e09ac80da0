"""Plain PyTorch as most users would write it, the reference of benchmarks."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedmpi.arrays import AnyArray, Integers, Vector

Module: TypeAlias = nn.Module


def step(
    module: nn.Module, x: AnyArray, y: Integers, lr: float, momentum: float
) -> Callable[[], None]:
    """Return a function that takes one training step of `module` on one batch.

    Parameters
    ----------
    module : torch.nn.Module
        Trained in place.
    x : float32[N, ...]
    y : int64[N]
    lr, momentum : float
        Arguments of torch.optim.SGD.
    """
    optimizer = torch.optim.SGD(module.parameters(), lr=lr, momentum=momentum)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    module.train()

    def once() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(module(inputs), labels).backward()
        optimizer.step()

    return once


def convolution_backwards(module: nn.Module, x: AnyArray) -> list[Callable[[], None]]:
    """Return a function for each Conv2d, in forward order, that runs torch's backward pass of it.

    It computes the weight and bias gradients and, except for the first layer, the input gradient.
    Tensors have torch's own layout, and the shapes that follow from the batch `x` float32[N, ...].
    """
    found: list[Callable[[], None]] = []
    handles = []

    def look(part: Any, inputs: Any, output: Any) -> None:
        found.append(_convolution_backward(part, inputs[0], output, not found))

    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            handles.append(part.register_forward_hook(look))
    with torch.no_grad():
        module(torch.from_numpy(x))
    for handle in handles:
        handle.remove()
    return found


def instructions() -> str:
    """Return the name of the instruction set that torch uses."""
    return torch.backends.cpu.get_cpu_capability()


def one_thread() -> None:
    """Make torch use one thread."""
    torch.set_num_threads(1)


def _convolution_backward(
    part: nn.Conv2d, inputs: Tensor, output: Tensor, first: bool
) -> Callable[[], None]:
    inputs, gradient = inputs.detach().clone(), torch.randn_like(output)
    sizes = None if part.bias is None else [part.out_channels]
    wanted = [not first, True, part.bias is not None]
    places = list(part.stride), list(part.padding), list(part.dilation)
    geometry = *places, False, [0, 0], part.groups
    weight = part.weight.detach()

    def once() -> None:
        torch.ops.aten.convolution_backward(gradient, inputs, weight, sizes, *geometry, wanted)

    return once


def feedback(update: Vector, residual: Vector, count: int) -> tuple[Integers, Vector]:
    """Add `update` to `residual` and move out its `count` largest entries, as kernels.select does.

    Both are float32[n]; `residual` is changed in place. Returns positions and values, unordered.
    """
    left = torch.from_numpy(residual)
    left.add_(torch.from_numpy(update))
    chosen = torch.topk(left.abs(), count, sorted=False).indices
    picked = left[chosen]
    left[chosen] = 0
    return chosen.numpy(), picked.numpy()
