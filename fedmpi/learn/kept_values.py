"""A check that a model keeps nothing between passes outside of its weights and buffers."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fedmpi.errors import ConfigError

Run = Callable[[nn.Module, Tensor], Tensor]
"""run(module, x) returns the outputs of a pass over samples x."""


def check_kept(module: nn.Module, sample: Tensor, run: Run) -> None:
    """Raise ConfigError if a pass depends on earlier passes, with weights and buffers set back.

    All clients of a rank are trained by one module, whose weights and buffers are set for each
    client. Other values, such as a plain attribute that a forward pass changes, would reach the
    next client of the rank, so the result would depend on the number of ranks. The module itself is
    not changed. The outputs are compared with a tolerance, as passes that draw are in fitness.py.
    """
    twin, pair = copy.deepcopy(module), torch.cat([sample, sample])
    kept = [
        (tensor, tensor.detach().clone(), part, name)
        for part in twin.modules()
        for name, tensor in {**part._parameters, **part._buffers}.items()
        if tensor is not None and (tensor.requires_grad or name in part._buffers)
    ]
    first: dict[bool, Tensor] = {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.get_rng_state()
        for training in (False, True, False, True):
            torch.set_rng_state(before)
            found = run(twin.train(training), pair)
            _set_back(kept)
            known = first.setdefault(training, found)
            same = known.shape == found.shape
            if not same or not torch.allclose(known, found, rtol=1e-3, atol=1e-5, equal_nan=True):
                raise ConfigError(_reason(module, twin))


def _set_back(kept: list[tuple[Tensor, Tensor, nn.Module, str]]) -> None:
    """Give trained parameters and buffers, (tensor, values, module, name), their first values."""
    for tensor, values, part, name in kept:
        if name in part._buffers:
            part._buffers[name] = values.clone()
        else:
            tensor.copy_(values)


def _reason(module: nn.Module, twin: nn.Module) -> str:
    """Return the message about a model, whose `twin` has made passes."""
    names = ", ".join(_changed(module, twin))
    where = f"changes {names}" if names else "changes values outside of its buffers"
    return (
        f"model: its forward pass {where}, which later passes use, so each client would see the "
        "values of other clients; keep such values in buffers (self.register_buffer), which are "
        "set for each client"
    )


def _changed(module: nn.Module, twin: nn.Module) -> list[str]:
    """Return the names of the attributes and frozen parameters that differ between two modules."""
    own = vars(nn.Module())
    found = []
    for prefix, part in module.named_modules():
        other = twin.get_submodule(prefix)
        frozen = {name: p for name, p in other._parameters.items() if p is not None}
        later = {name: value for name, value in vars(other).items() if name not in own}
        later |= {name: p for name, p in frozen.items() if not p.requires_grad}
        found += [
            f"{prefix}.{name}" if prefix else name
            for name, value in later.items()
            if not _same(getattr(part, name, None), value)
        ]
    return found


def _same(one: Any, other: Any) -> bool:
    """Return False if two tensors or plain values differ; True for values of other types."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and bool((one == other).all())
    plain = isinstance(other, bool | int | float | str | list | tuple | dict | set)
    return not plain or repr(one) == repr(other)
