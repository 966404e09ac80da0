"""Hooks for modules that train many clients: padded batches, dropped rows, activation sums."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedmpi.layout import Layout
from fedmpi.learn.constants import is_plain_norm
from fedmpi.learn.kinds import along, is_frozen_norm, tensors_in
from fedmpi.learn.layout_of import kind_of, layer_modules, row_axis


class ForwardPass:
    """The settings of one forward pass of one client, and its results.

    Attributes
    ----------
    valid : bool[B] or None
        The samples that count; None for all.
    rows : list of bool[rows], by layer, or None
        The rows that stay in the backward pass; None for all.
    gates : dict of int to float32[rows], by layer
        Factors of 1 for the raw outputs, by which the loss can be differentiated.
    after : dict of str to float32[n]
        Running statistics after the pass, by name.
    activations : dict of int to float64[rows]
        Sums of |raw output| over samples and space, by layer; empty if not requested.
    """

    def __init__(self) -> None:
        self.begin(None, None, False)

    def begin(
        self,
        valid: Tensor | None,
        rows: list[Tensor] | None,
        activations: bool,
        gates: Mapping[int, Tensor] | None = None,
    ) -> None:
        """Begin a pass."""
        self.gates = gates or {}
        self.valid, self.rows, self.measures = valid, rows, activations
        self.after: dict[str, Tensor] = {}
        self.activations: dict[int, Tensor] = {}


def watched(module: nn.Module, layout: Layout, call: ForwardPass) -> None:
    """Make the layers of `module` follow `call` in every pass; the module is changed in place."""
    for name, part in module.named_modules():
        if hasattr(part, "inplace"):
            part.inplace = False  # one client's values are views of all clients'
        if is_frozen_norm(part):
            part.eval()
        elif is_plain_norm(part):  # a forward pass of the user's own is part of the model
            vars(part)["forward"] = partial(_normalised, part, f"{name}." if name else "", call)
    for number, parts in enumerate(layer_modules(module, layout)):
        parts[0].register_forward_hook(_hook(call, number))


def _hook(call: ForwardPass, number: int) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(part: nn.Module, inputs: Any, output: Any) -> Any:
        kind, axis, raw = kind_of(part), row_axis(part), next(tensors_in(output), None)
        if raw is not None and call.measures and kind in ("conv", "linear", "norm", "adapter"):
            found = _summed(raw.detach().abs(), axis, call.valid)
            call.activations[number] = call.activations.get(number, 0) + found
        if number in call.gates:
            gate = call.gates[number]
            output = _each(output, lambda one: one * along(gate, one, axis).to(one.dtype))
        # An embedding's rows are its inputs, so only their weight gradient is to be left out.
        if call.rows is None or kind == "embedding":
            return output
        kept = call.rows[number]
        return _each(output, lambda one: torch.where(along(kept, one, axis), one, one.detach()))

    return hook


def _each(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return an output with each tensor in it changed; it may be nested tuples and lists."""
    if isinstance(output, Tensor):
        return change(output)
    if not isinstance(output, tuple | list):
        return output
    parts = [_each(part, change) for part in output]
    return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)


def _summed(values: Tensor, axis: int, valid: Tensor | None) -> Tensor:
    """Return float64[rows]: the sum over valid samples and space."""
    values = values.double()
    if valid is not None:
        values = torch.where(_over(valid, values), values, 0.0)
    axis %= values.dim()
    return values.sum([other for other in range(values.dim()) if other != axis])


def _normalised(part: Any, prefix: str, call: ForwardPass, x: Tensor) -> Tensor:
    """Return the BatchNorm of the valid samples; write new running statistics to `call.after`."""
    running, valid = (part.running_mean, part.running_var), call.valid
    if not part.training and part.running_mean is not None:
        result: Tensor = type(part).forward(part, x)  # the model keeps it in evaluation mode
        return result
    if valid is None and x.numel() == x.shape[1]:
        valid = torch.ones(1, dtype=torch.bool, device=x.device)  # torch refuses one value
    if valid is None:
        new = [None if one is None else one.clone() for one in running]
        mean, var = new
        result = functional.batch_norm(
            x, mean, var, part.weight, part.bias, True, part.momentum, part.eps
        )
    else:
        mean, var, count = _moments(x.float(), valid)
        shape = [1, -1] + [1] * (x.dim() - 2)
        result = (x - mean.view(shape)) * torch.rsqrt(var + part.eps).view(shape)
        if part.weight is not None:
            result = result * part.weight.view(shape)
        if part.bias is not None:
            result = result + part.bias.view(shape)
        unbiased = var * (count / (count - 1).clamp(min=1))
        new = [
            None if old is None else torch.lerp(old, seen.detach(), part.momentum)
            for old, seen in zip(running, (mean, unbiased), strict=True)
        ]
    for name, values in zip(("running_mean", "running_var"), new, strict=True):
        if values is not None:
            call.after[prefix + name] = values.detach()
    return result


def _moments(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance float32[C] of the valid samples, and the count of numbers."""
    over = [0, *range(2, x.dim())]
    here = _over(valid, x)
    space = x[0, 0].numel()
    count = (valid.sum() * space).clamp(min=1).float()
    mean = torch.where(here, x, 0.0).sum(over) / count
    shape = [1, -1] + [1] * (x.dim() - 2)
    apart = torch.where(here, x - mean.view(shape), 0.0)
    return mean, apart.square().sum(over) / count, count


def _over(valid: Tensor, values: Tensor) -> Tensor:
    """Return `valid` bool[B] in a shape that broadcasts over values [B, ...]."""
    return valid.view(-1, *[1] * (values.dim() - 1))
