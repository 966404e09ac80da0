"""Plain PyTorch, as anyone would write it: what benchmarks compare with."""

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
    """Return a function that does one training step of `module` on one batch.

    Parameters
    ----------
    module : torch.nn.Module
        Trained in place.
    x : float32[N, ...]
    y : int64[N]
    lr, momentum : float
        Of torch.optim.SGD.
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
    """Return for each Conv2d, in forward order, a function that runs torch's backward pass of it.

    Weight and bias gradient and, but for the first, the input gradient, on tensors of the
    shapes that the batch `x` float32[N, ...] gives, in torch's own layout.
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
    """Let torch use one thread."""
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
    """Add `update` to `residual`, take its `count` largest entries out; what kernels.select does.

    float32[n] both; `residual` is changed in place. Returns positions and values, unordered.
    """
    left = torch.from_numpy(residual)
    left.add_(torch.from_numpy(update))
    chosen = torch.topk(left.abs(), count, sorted=False).indices
    picked = left[chosen]
    left[chosen] = 0
    return chosen.numpy(), picked.numpy()
