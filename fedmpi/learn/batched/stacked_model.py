"""Losses and gradients of one network at the weights of many clients at once."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from fedmpi.layout import Layout
from fedmpi.layout import Tensor as Place
from fedmpi.learn.batched.one_pass import Batches, PassRequest, PassResult
from fedmpi.learn.batched.watched_modules import ForwardPass, watched
from fedmpi.learn.constants import Constants, is_own_norm
from fedmpi.learn.draws import Draws
from fedmpi.learn.losses import loss_of
from fedmpi.learn.relevance import at_output, no_columns

_Left: TypeAlias = tuple[Tensor, dict[str, Tensor], dict[int, Tensor]]
"""The auxiliary result: the loss again, running statistics and activations after the pass."""
_Loss: TypeAlias = Callable[..., tuple[Tensor, _Left]]
_Key = TypeVar("_Key", str, int)
ALIGNED = 16  # float32 in 64 bytes; each client's weights begin at a multiple of 64 bytes
QUAD = 4  # float32 in 16 bytes
STACKED = frozenset(("conv", "linear", "norm", "embedding", "other"))


def stacks(layout: Layout, device: str) -> bool:
    """Return True if all clients' layers run as one operation, instead of client by client.

    This is a rule on the model and the device, so that no bit depends on a timing. On CPUs torch
    runs the convolutions of K clients as one grouped convolution, at half the speed of K plain
    ones (`fedmpi bench round --engine batched` measures both). Recurrent layers cannot run for
    many clients at once.
    """
    kinds = {layer.kind for layer in layout.layers}
    return kinds <= (STACKED if device != "cpu" else STACKED - {"conv", "other"})


class StackedModel:
    """One network, computed at the weights of many clients.

    Parameters
    ----------
    module : torch.nn.Module
    layout : Layout
        The layout of the module.
    device : str
        Such as "cpu" or "cuda:1".
    precision : "float32" or "bfloat16"
        Precision of the layers' arithmetic; weights, losses and sums are always float32.
    stacked : bool, optional
        Whether all clients' layers run as one operation. By default the rule `stacks` decides. It
        is False for a BatchNorm whose forward pass is the user's, since that may mix clients.
    draws : bool
        Whether the module draws random numbers in training. Then each client's pass draws its own
        numbers, and is never merged with others into one operation.

    Attributes
    ----------
    size : int
        Number of coordinates of the layout, P, rounded up to a multiple of ALIGNED.
    at_output : frozenset of int
        The layers whose relevance is measured at the output (relevance.py).
    no_columns : str
        The reason why the statistic "columns" is undefined for the network; empty if it is defined.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        layout: Layout,
        device: str = "cpu",
        precision: str = "float32",
        stacked: bool | None = None,
        draws: bool = False,
    ) -> None:
        self.layout, self.device, self.precision, self.draws = layout, device, precision, draws
        alone = draws or any(map(is_own_norm, module.modules()))
        self.stacked = (stacks(layout, device) if stacked is None else stacked) and not alone
        self.size = -(-layout.size // ALIGNED) * ALIGNED
        self.plain = copy.deepcopy(module).to(device).eval()
        self._constants = Constants(self.plain, layout)
        self._module = copy.deepcopy(module).to(device).train()
        self.at_output, self.no_columns = at_output(module, layout), no_columns(module, layout)
        self._call = ForwardPass()
        watched(self._module, layout, self._call)

    def slots(self, chunk: int) -> int:
        """Return the number of slots of a chunk, rounded up if that makes all slots compute alike.

        torch uses other operations for the remainder that does not fill a vector register. With
        a multiple of ALIGNED slots there is no remainder, so every slot gives the same bits.
        """
        return -(-chunk // ALIGNED) * ALIGNED if self.stacked else chunk

    def rows(self, batch_size: int) -> int:
        """Return the number of rows of a batch, rounded up on the CPU to keep the bits.

        On some CPUs a matrix product depends on the addresses of its matrices modulo 16 bytes.
        With a multiple of 4 rows these are the same for all clients.
        """
        return -(-batch_size // QUAD) * QUAD if self.device == "cpu" else batch_size

    def buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Yield name and values of each buffer of the module that is used in training."""
        yield from self._module.named_buffers(remove_duplicate=False)

    def outputs(self, weights: Tensor, x: Tensor) -> Tensor:
        """Return the outputs float32[N, ...] at weights float32[P], in evaluation mode.

        `x` is not changed, even if the module writes to its input, and no pass affects the next.
        """
        self._constants.restore()
        state = {t.name: _place(weights, t) for t in self.layout.tensors}
        with torch.no_grad():
            found: Tensor = functional_call(self.plain, state, (x.clone(),)).float()
        return found

    def gradient(
        self,
        weights: Tensor,
        batches: Batches,
        rows: list[Tensor],
        into: Tensor,
        asked: PassRequest,
        draws: Sequence[Draws | None] = (),
    ) -> PassResult:
        """Return the PassResult of one batch for each client, and write the gradients into `into`.

        Parameters
        ----------
        weights, into : float32[K, size]
            `into` is overwritten where weights are trained, and not changed elsewhere. Rows of
            slots without a client may get any values.
        batches : Batches
        rows : list of bool[K, rows], by layer
            The rows that stay in the backward pass; no entries if asked.by_rows is False. Then, if
            asked.by_labels, bool[K, classes]: False for outputs that count as 0.
        asked : PassRequest
        draws : list of K Draws
            The source of random numbers for each client's pass; used only if the module draws any.
        """
        one = self._one(asked)
        tensors = self.layout.tensors
        free = [t for t in tensors if t.trained and t.layer >= asked.lowest]
        held = [t for t in tensors if not (t.trained and t.layer >= asked.lowest)]
        moving = [_places(weights, t) for t in free]
        # A module may change its statistics in place.
        still = [_places(weights, t) if t.trained else _places(weights, t).clone() for t in held]
        gates = self._gates(asked, len(weights))
        pulls = {number: torch.zeros_like(gate) for number, gate in gates.items()}
        targets = [*(_places(into, t) for t in free), *pulls.values()]
        arguments = one(free, held), [*moving, *gates.values()], still, batches, rows, targets
        if self.stacked:
            return replace(_stacked(*arguments), pulls=pulls)

        def random(slot: int) -> AbstractContextManager[None]:
            own = draws[slot] if self.draws else None
            return nullcontext() if own is None else own.next_pass(self.device)

        return replace(_one_by_one(*arguments, random), pulls=pulls)

    def _gates(self, asked: PassRequest, width: int) -> dict[int, Tensor]:
        """Return ones float32[K, rows] by layer; the gradient of a loss by them is z dL/dz."""
        numbers = sorted(self.at_output) if asked.relevance else ()
        rows = {n: self.layout.layers[n].rows for n in numbers if n >= asked.lowest}
        return {n: torch.ones(width, size, device=self.device) for n, size in rows.items()}

    def _one(self, asked: PassRequest) -> Callable[..., Callable[..., Any]]:
        """Return a function (free, held) that returns a client's loss as a function of values."""

        def of(free: list[Place], held: list[Place]) -> Callable[..., Any]:
            names = [t.name for t in (*free, *held)]
            statistics = [t.name for t in held if not t.trained]
            measured, last = self._gates(asked, 0), len(free)

            def loss(
                moving: Sequence[Tensor], still: Sequence[Tensor], x: Tensor, y: Tensor,
                valid: Tensor | None, rows: list[Tensor],
            ) -> tuple[Tensor, _Left]:
                gates = dict(zip(measured, moving[last:], strict=True))
                self._call.begin(valid, rows if asked.by_rows else None, asked.activations, gates)
                state = dict(zip(names, (*moving[:last], *still), strict=True))
                with self._autocast():
                    # The module may write to its input, which other passes read.
                    outputs = functional_call(self._module, state, (x.clone(),)).float()
                if asked.by_labels:
                    outputs = torch.where(rows[-1], outputs, 0.0)
                value = mean_of(loss_of(asked.error), outputs, y, valid)
                after = {name: state[name].detach() for name in statistics} | self._call.after
                return value, (value.detach(), after, self._call.activations)

            return loss

        return of

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.partition(":")[0], torch.bfloat16)


def _stacked(
    loss: _Loss, moving: list[Tensor], still: list[Tensor], batches: Batches, rows: list[Tensor],
    targets: list[Tensor],
) -> PassResult:
    """Return the PassResult, computed for all clients at once."""
    both = grad_and_value(lambda *values: loss(*values), has_aux=True)
    with sdpa_kernel(SDPBackend.MATH):  # the other attention backends support only one client
        found, (_, (value, after, activations)) = vmap(both)(
            moving, still, batches.x, batches.y, batches.valid, rows
        )
    torch._foreach_copy_(targets, list(found))
    return PassResult(value, after, activations)


def _one_by_one(
    loss: _Loss, moving: list[Tensor], still: list[Tensor], batches: Batches, rows: list[Tensor],
    targets: list[Tensor], random: Callable[[int], AbstractContextManager[None]],
) -> PassResult:
    """Return the PassResult, computed for one client after another, without empty slots."""
    values = batches.x.new_zeros(len(batches.count), dtype=torch.float32)
    after: dict[str, Tensor] = {}
    activations: dict[int, Tensor] = {}
    for k, count in enumerate(batches.count):
        if not count:
            continue
        free = [part[k].detach().requires_grad_() for part in moving]
        with random(k):
            value, (_, new, sums) = loss(
                free, [part[k] for part in still], batches.x[k, :count], batches.y[k, :count], None,
                [part[k] for part in rows],
            )  # fmt: skip
            slopes = torch.autograd.grad(value, free, allow_unused=True)
        found = [torch.zeros_like(a) if g is None else g for a, g in zip(free, slopes, strict=True)]
        torch._foreach_copy_([part[k] for part in targets], found)
        values[k] = value.detach()
        _put(after, k, new, len(values))
        _put(activations, k, sums, len(values))
    return PassResult(values, after, activations)


def _put(into: dict[_Key, Tensor], slot: int, ones: dict[_Key, Tensor], width: int) -> None:
    """Copy the values of one client, by name or layer, into its row of `into`, [width, ...]."""
    for key, one in ones.items():
        into.setdefault(key, one.new_zeros(width, *one.shape))[slot] = one


def mean_of(
    loss: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, y: Tensor, valid: Tensor | None
) -> Tensor:
    """Return the mean loss of the valid samples of a batch; of all if `valid` bool[B] is None."""
    if valid is None:
        return loss(outputs, y)
    each = vmap(lambda one, target: loss(one[None], target[None]))(outputs, y)
    return torch.where(valid, each, 0.0).sum() / valid.sum().clamp(min=1)


def _places(values: Tensor, tensor: Place) -> Tensor:
    """Return a view float32[K, *shape] of one tensor in float32[K, size]."""
    return values[:, tensor.block].view(-1, *tensor.shape)


def _place(values: Tensor, tensor: Place) -> Tensor:
    return values[tensor.block].view(tensor.shape)
