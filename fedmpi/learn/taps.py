"""Taps on the layers of a module, which drop rows from the backward pass and read activations."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fedmpi.arrays import Bools, Reals
from fedmpi.learn.constants import is_replaced
from fedmpi.learn.kinds import kind_of, row_axis, tensors_in
from fedmpi.learn.skeleton import Rows, SkeletonConv, SkeletonLinear


class Tap:
    """A tap on one layer of a module.

    Plain Conv2d and Linear layers get a backward pass that computes only the kept
    rows. For any other layer, the gradient at its output is masked, which gives the
    same result but saves nothing.
    """

    def __init__(self, part: Any) -> None:
        self.part = part
        self.kind = kind_of(part)
        # float64[rows] to which the next pass adds activations, and z dL/dz of its output z.
        self.sums: Reals | None = None
        self.pulls: Reals | None = None
        self._rows: Rows | None = None
        self._sliced = _forward_of(part)
        if self._sliced:
            part.forward = self._forward
        # A hook, so that the output is measured after the layer's existing hooks.
        part.register_forward_hook(self._measure if self._sliced else self._masked)

    def keep(self, rows: Bools | None) -> None:
        """Keep only `rows` (bool[rows], None for all) in later backward passes."""
        self._rows = None if rows is None else Rows(rows)

    def _active(self) -> bool:
        own = self.part.parameters(recurse=False)
        return torch.is_grad_enabled() and any(p.requires_grad for p in own)

    def _forward(self, x: Tensor) -> Tensor:
        """Return the output of a layer whose rows can be sliced."""
        if self._sliced is not None and self._rows is not None and self._active():
            return self._sliced(self.part, x, self._rows)
        output: Tensor = type(self.part).forward(self.part, x)
        return output

    def _masked(self, part: Any, inputs: Any, output: Any) -> None:
        """Measure the output, and mask its gradient; the forward hook of all other layers."""
        self._measure(part, inputs, output)
        # An embedding's rows are its inputs, so only their weight gradient is to be left out.
        if self._rows is None or self.kind == "embedding":
            return
        axis = row_axis(part)
        for values in tensors_in(output):
            if values.requires_grad:
                values.register_hook(lambda gradient: self._rows.masked(gradient, axis))

    def _measure(self, part: Any, inputs: Any, output: Any) -> None:
        """Add |output| of each row, over batch and space, to the sums; register its pulls."""
        if self.pulls is not None and output.requires_grad:
            output.register_hook(partial(self._pull, output.detach().clone(), self.pulls))
        if self.sums is None or self.kind not in ("conv", "norm", "linear", "adapter"):
            return
        axis = row_axis(self.part) % output.dim()
        over = [other for other in range(output.dim()) if other != axis]
        self.sums += output.detach().abs().sum(over, dtype=torch.float64).numpy()

    def _pull(self, output: Tensor, pulls: Reals, gradient: Tensor) -> None:
        """Add output * gradient of each row that is kept, over batch and space, in place."""
        axis = row_axis(self.part) % output.dim()
        if self._rows is not None:
            gradient = self._rows.masked(gradient, axis)
        over = [other for other in range(output.dim()) if other != axis]
        pulls += (output * gradient).sum(over, dtype=torch.float64).numpy()


def _forward_of(part: Any) -> Callable[[Any, Tensor, Rows], Tensor] | None:
    """Return the function (part, x, rows) with a sliced backward pass, or None if there is none."""
    if is_replaced(part) or _has_hooks(part):
        return None  # the user's own forward pass or hook is part of the model
    if type(part).forward is nn.Linear.forward:
        return _linear
    # Filters of a grouped convolution read different inputs, so they cannot be sliced freely.
    plain = type(part).forward is nn.Conv2d.forward and part.groups == 1
    if plain and part.padding_mode == "zeros" and isinstance(part.padding, tuple):
        return _conv
    return None


def _has_hooks(part: nn.Module) -> bool:
    return any(p._backward_hooks for p in part.parameters(recurse=False))


def _conv(part: Any, x: Tensor, rows: Rows) -> Tensor:
    # Torch takes a tuple of one size, too.
    geometry = tuple((sides[0], sides[-1]) for sides in (part.stride, part.padding, part.dilation))
    output: Tensor = SkeletonConv.apply(x, part.weight, part.bias, rows, geometry)
    return output


def _linear(part: nn.Linear, x: Tensor, rows: Rows) -> Tensor:
    output: Tensor = SkeletonLinear.apply(x, part.weight, part.bias, rows)
    return output
