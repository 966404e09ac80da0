"""Gradients and outputs of any torch module, on flat vectors."""

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import nn

from fedmpi.arrays import AnyArray, Bools, Integers, Reals
from fedmpi.layout import Layout
from fedmpi.learn.constants import Constants, Training
from fedmpi.learn.draws import Draws
from fedmpi.learn.gradients import Gradients, checked_rows
from fedmpi.learn.kinds import BATCH_NORMS
from fedmpi.learn.layout_of import bind, flat_weights, layer_modules
from fedmpi.learn.loss_functions import of_labels
from fedmpi.learn.losses import loss_of
from fedmpi.learn.relevance import at_output, no_columns
from fedmpi.learn.taps import Tap
from fedmpi.plan import FULL, Backward


class TorchGradients(Gradients):
    """Gradients of any torch module, whose parameters are views of the flat vectors.

    The vectors are 64-byte aligned, because results of BLAS may depend on alignment, and must
    not depend on the address of a caller's vector.

    Parameters
    ----------
    module : torch.nn.Module
        Owned by this object from now on: its parameters become views, its layers are tapped.
    layout : Layout
        From `layout_of(module, sample)`.
    threads : int
        Torch threads of the whole process. Results have the same bits on any number of
        ranks, but not for any number of threads.
    """

    def __init__(self, module: nn.Module, layout: Layout, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self.module = module
        self._flat = flat_weights(module, layout)
        self._flat_grad = torch.zeros(layout.size)
        super().__init__(layout, self._flat.numpy(), self._flat_grad.numpy())
        bind(module, layout, self._flat)
        self._training, self._constants = Training(module), Constants(module, layout)
        self.at_output, self.no_columns = at_output(module, layout), no_columns(module, layout)
        self._kept = _kept_by_hand(module, layout)
        self._shared = _shared(module)
        self._taps = [Tap(parts[0]) for parts in layer_modules(module, layout)]
        self._prepare(FULL)

    def _differentiate(
        self, x: AnyArray, y: Integers, backward: Backward, activations: list[Reals] | None,
        error: str,
    ) -> float:
        if backward != self._backward:
            self._prepare(backward)
        for layer, tap in enumerate(self._taps):
            tap.sums = None if activations is None else activations[layer]
            tap.pulls = self._pulls.get(layer)
        self._training.on()
        still = self._flat[self._still]
        with nullcontext() if self._draws is None else self._draws.next_pass():
            outputs = of_labels(self.module(_copy(x)), self._labels)
            loss = loss_of(error)(outputs, _copy(y))
            self._fill(loss)
        self._take_statistics()
        self._flat[self._still] = still
        return float(loss.item())

    def begin(self, draws: Draws) -> None:
        super().begin(draws)
        self._constants.restore()

    def _take_statistics(self) -> None:
        """Copy statistics that a module has replaced by new tensors into the flat vector."""
        for part, name, view in self._kept:
            found = getattr(part, name)
            if found.data_ptr() != view.data_ptr():
                view.copy_(found.detach())
                setattr(part, name, view)

    def _evaluate(self, x: AnyArray) -> AnyArray:
        for tap in self._taps:
            tap.sums = tap.pulls = None
        self._constants.restore()
        if self.module.training:
            self.module.eval()
        with torch.no_grad():
            found: AnyArray = self.module(_copy(x)).numpy()
        return found

    def _fill(self, loss: torch.Tensor) -> None:
        """Write the gradient of `loss` into the flat vector."""
        for view in self._untouched:
            view.zero_()
        if self._parameters:
            slopes = torch.autograd.grad(loss, self._parameters, allow_unused=True)
            found = [torch.zeros(()) if one is None else one for one in slopes]
            torch._foreach_copy_(self._views, found)
        self._flat_grad[self._silent] = 0.0

    def _prepare(self, backward: Backward) -> None:
        """Prepare for another Backward: flags of parameters, rows of taps, index lists."""
        layout = self.layout
        rows = checked_rows(layout, backward)
        self._parameters: list[nn.Parameter] = []
        self._views: list[torch.Tensor] = []
        self._untouched: list[torch.Tensor] = []
        for tensor in layout.tensors:
            view = self._flat_grad[tensor.block].view(tensor.shape)
            if not tensor.trained:
                self._untouched.append(view)
                continue
            parameter = self.module.get_parameter(tensor.name)
            parameter.requires_grad_(tensor.layer >= backward.lowest)
            if parameter.requires_grad:
                self._parameters.append(parameter)
                self._views.append(view)
            else:
                self._untouched.append(view)
        for tap, keep in zip(self._taps, rows, strict=True):
            tap.keep(keep)
        self._still, self._silent = _unmoved(layout, rows, backward.lowest, self._shared)
        self._backward = backward


def _kept_by_hand(
    module: nn.Module, layout: Layout
) -> list[tuple[nn.Module, str, torch.Tensor]]:
    """Return (module, name, view) of the statistics of modules that are not torch's own norms."""
    found = []
    for tensor in (tensor for tensor in layout.tensors if not tensor.trained):
        owner, _, name = tensor.name.rpartition(".")
        part = module.get_submodule(owner)
        if not isinstance(part, BATCH_NORMS):
            found.append((part, name, getattr(part, name)))
    return found


def _shared(module: nn.Module) -> set[str]:
    """Return the names of the parameters that have more than one name."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {name for alike in names.values() if len(alike) > 1 for name in alike}


def _unmoved(
    layout: Layout, rows: Sequence[Bools | None], lowest: int, shared: set[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two int64 lists of coordinates: of unchanged statistics, and of zeroed gradients."""
    still, silent = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for tensor in layout.tensors:
        layer, keep = layout.layers[tensor.layer], rows[tensor.layer]
        if tensor.layer < lowest:
            keep = np.zeros(layer.rows, bool)
        if keep is None:
            continue
        blocks = np.arange(tensor.start, tensor.start + tensor.size).reshape(tensor.rows, -1)
        dropped = blocks[~keep].ravel() if tensor.rows == len(keep) else blocks[:0].ravel()
        # The layer's own weights get zeros from its backward pass; those of a joined norm do not.
        joined = tensor.name.rpartition(".")[0] != layer.name
        if not tensor.trained:
            still.append(dropped)
        elif joined or layer.kind == "embedding" or tensor.name in shared:
            silent.append(dropped)
    return torch.from_numpy(np.concatenate(still)), torch.from_numpy(np.concatenate(silent))


def _copy(array: AnyArray) -> torch.Tensor:
    """Return a copy of an array as a torch tensor, with torch's alignment."""
    return torch.tensor(array)
