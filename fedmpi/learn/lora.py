"""Low-rank adapters of linear layers: Hu et al., "LoRA", ICLR 2022, arXiv:2106.09685.

An adapter of rank R has R components, each a vector that reads the input and a vector that writes
to the output. A component is a row of the layout, so methods that drop, send or rank rows do the
same with components: a client of half the width has half the rank. If a component is left out of
the backward pass, neither of its vectors moves, and it passes no gradient on.
"""

from collections.abc import Iterable
from fnmatch import filter as matching
from math import sqrt

import numpy as np
import torch
from torch import Tensor, nn

from fedmpi.errors import ConfigError, nearest
from fedmpi.model_section import AdapterSection
from fedmpi.rng import rng_for


class Down(nn.Linear):
    """The reading half of an adapter, from float32[..., inputs] to float32[..., R]."""

    def __init__(self, inputs: int, rank: int) -> None:
        super().__init__(inputs, rank, bias=False)


class Up(nn.Module):
    """The writing half of an adapter, from float32[..., R] to float32[..., outputs].

    `weight` is float32[R, outputs], with a row for each component. It is initially zero, so that an
    untrained adapter has no effect.
    """

    def __init__(self, rank: int, outputs: int, scale: float) -> None:
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.zeros(rank, outputs)), scale

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum over the components."""
        return x @ self.weight * self.scale


class Lora(nn.Module):
    """A linear layer and its adapter."""

    def __init__(
        self, base: nn.Linear, rank: int, scale: float, rng: np.random.Generator
    ) -> None:
        super().__init__()
        self.base = base
        self.down, self.up = Down(base.in_features, rank), Up(rank, base.out_features, scale)
        bound = 1 / sqrt(base.in_features)
        drawn = rng.uniform(-bound, bound, (rank, base.in_features)).astype(np.float32)
        with torch.no_grad():
            self.down.weight.copy_(torch.from_numpy(drawn))

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the layer plus that of the adapter."""
        found: Tensor = self.base(x) + self.up(self.down(x))
        return found


def adapt(module: nn.Module, adapter: AdapterSection, seed: int) -> None:
    """Freeze a module and add adapters to the linear layers that are targets, in place.

    Parameters
    ----------
    module : torch.nn.Module
    adapter : fedmpi.model_section.AdapterSection
    seed : int
        The run's seed; the initial values of the adapters depend only on it.

    Raises
    ------
    ConfigError
        If a pattern matches no linear layer, or no parameter.
    """
    # Subclasses are left out, since they may override the forward pass.
    linear = {n: p for n, p in module.named_modules() if isinstance(p, nn.Linear)}
    linear = {name: part for name, part in linear.items() if type(part) is nn.Linear}
    parameters = dict(module.named_parameters())
    targets = _named(linear, adapter.targets, "targets", "linear layer")
    kept = _named(parameters, adapter.trained, "trained", "parameter")
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in kept)
    rng = rng_for(seed, "adapter")
    scale = 1.0 if adapter.alpha is None else adapter.alpha / adapter.rank
    named = list(module.named_modules(remove_duplicate=False))
    for name in targets:
        lora = Lora(linear[name], adapter.rank, scale, rng)
        for place in (place for place, part in named if part is linear[name]):
            around, _, own = place.rpartition(".")
            setattr(module.get_submodule(around), own, lora)


def _named(names: Iterable[str], patterns: Iterable[str], key: str, kind: str) -> list[str]:
    """Return the `names` that match any of the patterns, in their original order."""
    names, found = list(names), set[str]()
    for pattern in patterns:
        if not (these := matching(names, pattern)):
            raise ConfigError(
                f"model.adapter.{key} = {pattern!r}: names no {kind}; {nearest(pattern, names)}"
            )
        found.update(these)
    return [name for name in names if name in found]
