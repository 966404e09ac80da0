"""Preparation of a module for chunks, with a trial pass that shows whether it can be trained."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from fedmpi.errors import ConfigError
from fedmpi.learn.batched.first_targets import first_outputs, first_targets
from fedmpi.learn.batched.one_pass import Batches, PassRequest
from fedmpi.learn.batched.stacked_model import StackedModel, mean_of
from fedmpi.learn.draws import Draws, kept_generators
from fedmpi.learn.layout_of import COUNTER, layout_of
from fedmpi.learn.losses import loss_of

MANY, MOST = 16, 2**28  # samples of a batch that tests a loss; most numbers in all these batches


def tried(many: StackedModel, sample: Tensor, loss: str) -> StackedModel:
    """Return `many` after a trial; raise ConfigError if its module cannot be trained in chunks.

    `sample` [1, ...] is one input, `loss` the name of a loss. Of a batch of two samples only the
    first is valid, and the second must not affect the gradient or the statistics.
    """
    weights = torch.zeros(1, many.size, device=many.device)
    weights[0, : many.layout.size] = flat = _first(many)
    x = torch.cat([sample, sample])[None].to(many.device)
    outputs = many.outputs(flat, x[0])
    y, valid = first_targets(loss, outputs)[None], torch.tensor([[True, False]])
    found, held = [], _constants(many)
    for change in (0, 1):
        other = x.clone()
        other[:, 1] = other[:, 1] * (1 - change)
        into, batch = torch.zeros_like(weights), Batches(other, y, valid.to(many.device), [1])
        try:
            given = many.gradient(
                weights, batch, [], into, PassRequest(loss), [Draws(0, 0, 0)]
            )
        except (RuntimeError, NotImplementedError) as error:
            raise ConfigError(_reason(many.device, error)) from None
        found.append(torch.cat([into.ravel(), *(v.ravel() for v in given.after.values())]))
    changed = [name for name, values in _constants(many).items() if not values.equal(held[name])]
    if changed:
        raise ConfigError(
            f"run.engine = 'batched': the model changes the buffer {changed[0]!r} in training, "
            "which clients in one chunk would share; use engine = 'torch'"
        )
    if not all(values.isfinite().all() for values in found):
        raise ConfigError(
            "run.engine = 'batched': the gradient of the first weights holds NaN or infinity; look "
            "for logarithms, roots and divisions in the model"
        )
    if not torch.equal(*found):
        raise ConfigError("run.engine = 'batched': " + (_MIXES if many.stacked else _DIFFERS))
    if many.stacked:
        _check_loss(loss, outputs)
    return many


_MIXES = (
    "the model mixes the samples of a batch, so samples that pad a short batch would count; "
    "use engine = 'torch', or normalise by nn.BatchNorm"
)
_DIFFERS = (
    "the model gives a different gradient each time; let it draw random numbers only from torch's "
    "default generator, and use no dropout between recurrent layers on a GPU"
)


def _check_loss(name: str, outputs: Tensor) -> None:
    """Raise ConfigError unless a loss is the mean of the losses of single samples."""
    loss = loss_of(name)
    for what, given, y in _loss_batches(name, outputs):
        valid, whole = torch.ones(len(y), dtype=torch.bool, device=given.device), loss(given, y)
        try:
            mean = mean_of(loss, given, y, valid)
        except (RuntimeError, NotImplementedError) as error:
            raise ConfigError(_reason(given.device, error)) from None
        if not torch.allclose(mean, whole, rtol=1e-3, atol=1e-5):
            raise ConfigError(
                f"run.engine = 'batched': model.loss = {name!r} gives {whole:.6g} for {what}, "
                f"and {mean:.6g} as the mean over each of them alone; return such a mean, or use "
                "engine = 'torch'"
            )


def _loss_batches(name: str, outputs: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield (description, outputs, targets) of batches that test whether a loss is a plain mean.

    A loss of the user's code may ignore or weight a class, so each class occurs in a batch. If that
    takes too much memory, only the first and the last classes do.
    """
    given, classes = first_outputs(outputs, 3), outputs.shape[-1]
    y = first_targets(name, given)
    yield "three samples", given, y
    if ":" not in name or y.is_floating_point():
        return
    first = range(0, classes, MANY)
    for start in first if classes * outputs[0].numel() <= MOST else (0, classes - MANY):
        of = torch.arange(start, start + MANY, device=y.device) % classes
        targets = of.view(-1, *[1] * (y.dim() - 1)).expand(MANY, *y.shape[1:])
        what = f"{MANY} samples of classes from {start} on"
        yield what, first_outputs(outputs, MANY), targets


def _constants(many: StackedModel) -> dict[str, Tensor]:
    """Return copies of the buffers that no client trains, by name, without counters of batches."""
    known = set(many.layout.names)
    named = ((name, buffer) for name, buffer in many.buffers() if name not in known)
    return {name: buffer.clone() for name, buffer in named if not name.endswith(COUNTER)}


def _first(many: StackedModel) -> Tensor:
    """Return the initial weights float32[P] of the module, on the device."""
    state: dict[str, Tensor] = dict(many.plain.named_parameters(remove_duplicate=False))
    state |= dict(many.plain.named_buffers(remove_duplicate=False))
    return torch.cat([state[name].detach().reshape(-1) for name in many.layout.names])


def _reason(device: Any, error: Exception) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        f"run.engine = 'batched': on {device} torch cannot compute this model for many "
        f"clients, or not with the same bits each time: {first}; use engine = 'torch' and "
        "device = 'cpu'"
    )


def draws_numbers(module: torch.nn.Module, sample: Tensor, device: str = "cpu") -> bool:
    """Return True if a pass in training draws random numbers from torch's generators.

    `sample` [1, ...] is one input.
    """
    module = copy.deepcopy(module).to(device).train()
    with kept_generators(device) as generators, torch.no_grad():
        before = [generator.get_state() for generator in generators]
        try:
            module(torch.cat([sample, sample]).to(device))
        except (RuntimeError, NotImplementedError) as error:
            raise ConfigError(_reason(device, error)) from None
        after = [generator.get_state() for generator in generators]
    return not all(map(torch.equal, before, after))


def many_of(
    module: torch.nn.Module,
    sample: Any,
    device: str,
    precision: str,
    stacked: bool | None,
    labels: int,
    loss: str,
) -> tuple[StackedModel, Any]:
    """Return a module's StackedModel, tested on `sample` [1, ...], and initial weights float32[P].

    `labels` is the least number of outputs of a sample, `loss` the name of the run's loss.
    """
    layout, sample = layout_of(module, sample, labels), torch.as_tensor(sample)
    draws = draws_numbers(module, sample, device)
    many = tried(StackedModel(module, layout, device, precision, stacked, draws), sample, loss)
    return many, _first(many).cpu().numpy()
