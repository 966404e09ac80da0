"""A module made ready for chunks: one pass shows, before the run, whether it can be trained so."""

from typing import Any

import torch
from torch import Tensor

from fedmpi.errors import ConfigError
from fedmpi.learn.batched.stacked_model import Batches, PassRequest, StackedModel
from fedmpi.learn.layout_of import layout_of


def tried(many: StackedModel, sample: Tensor) -> StackedModel:
    """Return `many` after one pass; ConfigError if its module cannot be trained in chunks.

    `sample` [1, ...] is one input. Of two samples only the first counts, and what the second is
    must not matter to the loss or the gradient.
    """
    layout, device = many.layout, many.device
    weights = torch.zeros(1, many.size, device=device)
    flat = torch.cat([_state(many, name) for name in layout.names])
    weights[0, : layout.size] = flat
    x = torch.cat([sample, sample])[None].to(device)
    valid = torch.tensor([[True, False]], device=device)
    found, drawn = [], torch.default_generator.get_state()
    for change in (0, 1):
        other = x.clone()
        other[:, 1] = other[:, 1] * (1 - change)
        into = torch.zeros_like(weights)
        try:
            y = torch.zeros(1, 2, dtype=torch.int64, device=device)
            many.gradient(weights, Batches(other, y, valid, [1]), [], into, PassRequest())
        except (RuntimeError, NotImplementedError) as error:
            raise ConfigError(_reason(many, error)) from None
        found.append(into)
    if not torch.equal(torch.default_generator.get_state(), drawn):
        raise ConfigError(
            "run.engine = 'batched': the model draws random numbers while it trains (dropout), "
            "and they would depend on who shares its chunk; use engine = 'torch'"
        )
    if not torch.equal(*found):
        raise ConfigError(
            "run.engine = 'batched': the model mixes the samples of a batch, so those that fill "
            "up a short batch would count; use engine = 'torch', or normalise by nn.BatchNorm"
        )
    return many


def _state(many, name):
    owner, _, last = name.rpartition(".")
    return getattr(many.plain.get_submodule(owner), last).detach().reshape(-1)


def _reason(many, error):
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        f"run.engine = 'batched': on {many.device} torch cannot compute this model for many "
        f"clients, or not with the same bits each time: {first}; use engine = 'torch' and "
        "device = 'cpu'"
    )


def many_of(
    module: torch.nn.Module,
    sample: Any,
    device: str,
    precision: str,
    stacked: bool | None,
    labels: int,
) -> tuple[StackedModel, Any]:
    """Return a module's StackedModel, tried on `sample` [1, ...], and its first weights float32[P].

    `labels` is the least number of outputs of a sample.
    """
    layout = layout_of(module, sample, labels)
    many = tried(StackedModel(module, layout, device, precision, stacked), torch.as_tensor(sample))
    first = torch.cat([_state(many, name) for name in layout.names])
    return many, first.cpu().numpy()
