"""Losses and gradients of one network at many clients' weights at once."""

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
from fedmpi.learn.draws import Draws
from fedmpi.learn.losses import loss_of
from fedmpi.learn.relevance import at_output, no_columns

_Left: TypeAlias = tuple[Tensor, dict[str, Tensor], dict[int, Tensor]]
"""Beside the loss: the loss again, running statistics and activations after the pass."""
_Loss: TypeAlias = Callable[..., tuple[Tensor, _Left]]
_Key = TypeVar("_Key", str, int)
ALIGNED = 16  # float32 in 64 bytes: each client's weights begin at such a boundary
QUAD = 4  # float32 in 16 bytes
STACKED = frozenset(("conv", "linear", "norm", "embedding", "other"))


def stacks(layout: Layout, device: str) -> bool:
    """Return whether all clients' layers run as one operation; if not, one client after another.

    A rule on the model and the device, so that no bit depends on a timing. On processors torch
    runs the convolutions of K clients as one grouped convolution, at half the speed of K plain
    ones (`fedmpi bench round --engine batched` measures both). Recurrent layers have no form for
    many clients.
    """
    kinds = {layer.kind for layer in layout.layers}
    return kinds <= (STACKED if device != "cpu" else STACKED - {"conv", "other"})


class StackedModel:
    """One network, computed at the weights of many clients.

    Parameters
    ----------
    module : torch.nn.Module
    layout : Layout
        Of the module.
    device : str
        Such as "cpu" or "cuda:1".
    precision : "float32" or "bfloat16"
        Of the layers' arithmetic; weights, losses and sums are float32 always.
    stacked : bool, optional
        Whether all clients' layers run as one operation; by the rule `stacks` if it is not given.
    draws : bool
        Whether the module draws random numbers in training. Then each client's pass has its own,
        and is never one operation with others.

    Attributes
    ----------
    size : int
        Coordinates of the layout, P, and what fills them up to a multiple of ALIGNED.
    at_output : frozenset of int
        The layers whose relevance is measured at the output (relevance.py).
    no_columns : str
        Why the statistic "columns" has no meaning for the network, if so.
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
        self.stacked = (stacks(layout, device) if stacked is None else stacked) and not draws
        self.size = -(-layout.size // ALIGNED) * ALIGNED
        self.plain = copy.deepcopy(module).to(device).eval()
        self._module = copy.deepcopy(module).to(device).train()
        self.at_output, self.no_columns = at_output(module, layout), no_columns(module, layout)
        self._call = ForwardPass()
        watched(self._module, layout, self._call)

    def slots(self, chunk: int) -> int:
        """Return how many slots a chunk of that width has: more where that keeps the bits.

        torch computes what is left over of a vector register in another way than the rest. With
        a multiple of ALIGNED slots nothing is left over, so every slot computes alike.
        """
        return -(-chunk // ALIGNED) * ALIGNED if self.stacked else chunk

    def rows(self, batch_size: int) -> int:
        """Return how many rows a batch of that size has: more where that keeps the bits.

        On some processors a product depends on where in 16 bytes its matrices begin. With a
        multiple of 4 rows those of all clients begin alike.
        """
        return -(-batch_size // QUAD) * QUAD if self.device == "cpu" else batch_size

    def buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Yield name and values of each buffer of the module that trains."""
        yield from self._module.named_buffers(remove_duplicate=False)

    def outputs(self, weights: Tensor, x: Tensor) -> Tensor:
        """Return the outputs float32[N, ...] of one client's weights float32[P], evaluating.

        `x` stays as it is, whatever the module writes to its input.
        """
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
        """Return the PassResult of one batch for each client, and fill in the gradients.

        Parameters
        ----------
        weights, into : float32[K, size]
            The second is overwritten where weights are trained, and left alone elsewhere; also
            for slots without a client, where anything may come.
        batches : Batches
        rows : list of bool[K, rows], by layer
            The rows that stay in the backward pass; none if asked.by_rows is False. Then, if
            asked.by_labels, bool[K, classes]: the outputs that are not taken as 0.
        asked : PassRequest
        draws : list of K Draws
            Where the pass of each client takes its random numbers; only if the module draws any.
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
        """Return ones float32[K, rows] by layer: a loss has z dL/dz as its gradient by them."""
        numbers = sorted(self.at_output) if asked.relevance else ()
        rows = {n: self.layout.layers[n].rows for n in numbers if n >= asked.lowest}
        return {n: torch.ones(width, size, device=self.device) for n, size in rows.items()}

    def _one(self, asked: PassRequest) -> Callable[..., Callable[..., Any]]:
        """Return what makes, for tensors, the loss of one client as a function of their values."""

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
    """All clients at once."""
    both = grad_and_value(lambda *values: loss(*values), has_aux=True)
    with sdpa_kernel(SDPBackend.MATH):  # the other forms of attention know one client only
        found, (_, (value, after, activations)) = vmap(both)(
            moving, still, batches.x, batches.y, batches.valid, rows
        )
    torch._foreach_copy_(targets, list(found))
    return PassResult(value, after, activations)


def _one_by_one(
    loss: _Loss, moving: list[Tensor], still: list[Tensor], batches: Batches, rows: list[Tensor],
    targets: list[Tensor], random: Callable[[int], AbstractContextManager[None]],
) -> PassResult:
    """One client after another, and none where a slot is empty."""
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
    """Put what one client left, by name or layer, into its row of what all leave, [width, ...]."""
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
    """A view float32[K, *shape] of one tensor in float32[K, size]."""
    return values[:, tensor.block].view(-1, *tensor.shape)


def _place(values: Tensor, tensor: Place) -> Tensor:
    return values[tensor.block].view(tensor.shape)
