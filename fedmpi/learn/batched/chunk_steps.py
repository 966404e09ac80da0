"""The steps of a chunk, which move the weights of all clients, one row each, at once."""

from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor

from fedmpi.arrays import AnyArray, Integers, Vector
from fedmpi.learn.batched.chunk_optimizer import ChunkOptimizer
from fedmpi.learn.batched.chunk_point import ChunkPoint
from fedmpi.learn.batched.chunk_sums import ChunkSums
from fedmpi.learn.batched.one_pass import Batches, PassRequest
from fedmpi.learn.batched.plan_kind import PlanKind
from fedmpi.learn.batched.stacked_model import StackedModel
from fedmpi.learn.draws import Draws
from fedmpi.learn.local import Local
from fedmpi.learn.moved_mask import moved_mask
from fedmpi.learn.networks import Network
from fedmpi.learn.steps import free_of, held_of, open_rows
from fedmpi.plan import Plan
from fedmpi.sparsity import coordinates


class ChunkSteps:
    """Weights, optimiser and plans of K clients, float32[K, size] on the device.

    The mechanisms are those of the docstring of Plan; each is a line or a method here. The row of
    a slot without a client may hold any values.

    Parameters
    ----------
    network : Network
        Its backend is a StackedModel.
    kind : PlanKind
    local : Local
    width : int
        K.

    Attributes
    ----------
    weights : float32[K, size]
    loss : float64[K]
        Sum of the losses of each client's samples so far.
    sums : ChunkSums
        The statistics.
    """

    def __init__(self, network: Network, kind: PlanKind, local: Local, width: int) -> None:
        self._many: StackedModel = network.backend
        self._network, self.kind, self._local, self._width = network, kind, local, width
        self.layout, device, names = network.layout, self._many.device, kind.mechanisms
        self._numbers = torch.zeros(4, width, 1, device=device)  # four for each client, see `enter`
        self._optimizer = ChunkOptimizer(local, width, self._many.size, device)
        self.loss = torch.zeros(width, dtype=torch.float64, device=device)

        def vector(dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(width, self._many.size, dtype=dtype, device=device)

        def vectors(wanted: bool, dtype: torch.dtype = torch.float32) -> Tensor | None:
            return vector(dtype) if wanted else None

        self.weights, self._grad = vector(), vector()
        self._start = vectors("proximal" in names or "signs" in names)
        self._control = vectors("control" in names)
        self._mask, self._moving = vectors("mask" in names), vectors(kind.held, torch.bool)
        self._shut = vectors(kind.asked.by_rows, torch.bool)
        self._rows = [
            torch.ones(width, layer.rows, dtype=torch.bool, device=device)
            for layer in self.layout.layers if kind.asked.by_rows
        ]  # fmt: skip
        self._labels: list[Tensor] = []  # bool[K, classes], made for the first plan with labels
        self._scratch = vectors("dense_norm" in names and not self.layout.trained.all())
        self._penalised = vectors("penalised" in names)
        self._plans: dict[int, Plan] = {}  # the plan of the client in each slot
        self._draws: list[Draws | None] = [None] * width
        inside = coordinates(self.layout, kind.tensors)
        self._inside = torch.from_numpy(np.flatnonzero(inside)).to(device)
        self._point = ChunkPoint(names, self._inside, width, self._many.size)
        self.sums = ChunkSums(self.layout, kind.statistics, width, self._many)
        self._idle = [
            self._grad[:, t.block]
            for t in self.layout.tensors if not t.trained or t.layer < kind.asked.lowest
        ]  # fmt: skip

    def enter(self, slot: int, plan: Plan, lr: float, start: Vector, draws: Draws) -> None:
        """Let a client begin in a slot, from the weights `start` float32[P'] of its network."""
        put, network = self._put, self._network
        self._plans[slot], self._draws[slot] = plan, draws
        put(self.weights, slot, start)
        self._optimizer.enter(slot, lr)
        self._point.enter(slot, plan, network.part_of(plan.scores))
        self._grad[slot] = 0
        numbers = [plan.proximal, plan.penalty, plan.threshold, plan.clip]
        self._numbers[:, slot, 0] = torch.tensor(numbers).to(self.weights.device)
        self.loss[slot] = 0
        put(self._start, slot, start)
        put(self._control, slot, network.part_of(plan.control))
        put(self._mask, slot, network.part_of(plan.mask))
        put(self._penalised, slot, network.part_of(plan.penalised))
        if self._moving is not None:
            update = network.part_of(plan.update)
            put(self._moving, slot, free_of(self.layout, plan.backward, network.trained, update))
        if plan.backward.rows is not None:
            put(self._shut, slot, open_rows(self.layout, plan.backward) == 0)
            for values, keep in zip(self._rows, plan.backward.rows, strict=True):
                values[slot] = True
                put(values, slot, keep)
        if plan.labels is not None:
            if not self._labels:
                shape = self._width, len(plan.labels)
                self._labels = [torch.ones(shape, dtype=torch.bool, device=self.weights.device)]
            put(self._labels[0], slot, plan.labels)
        self.sums.enter(slot)

    def take(self, batches: Batches, steps: dict[int, int], ended: list[int]) -> None:
        """Take one step of every client on its batch.

        `steps` gives the number of this step for the client of each slot; `ended` are the slots
        whose epoch ends.
        """
        names, grad = self.kind.mechanisms, self._grad
        taking = [own if slot in steps else None for slot, own in enumerate(self._draws)]
        point, slope, after = self._differentiate(batches, taking)
        if "readjust" in names and self._mask is not None and self._moving is not None:
            self._readjust(steps, self._mask, self._moving)
        self._correct(point, slope)
        moving = self._moving
        if moving is not None and "salient" in names:
            moving = moving & self._salient(point, grad)
        self.sums.moved(moving)
        if self._local.weight_decay:
            grad.add_(self.weights, alpha=self._local.weight_decay)
        if self._start is not None:  # the proximal term, times 0 if only `signs` needs the start
            grad.addcmul_(self.weights - self._start, self._numbers[0])
        self._optimizer.move(self.weights, grad, moving)
        self._store_statistics(after, point)
        if ended and "threshold" in names:
            self._threshold(ended)

    def measure(self, slot: int, x: Tensor, y: Tensor) -> None:
        """Add one batch of a client to the statistic "columns", without changing its weights."""
        point, grad = self._looked(slot, self.weights[slot : slot + 1], x, y)
        self.sums.columns(slot, point[0], grad[0], len(y))

    def probe(self, slot: int, x: Tensor, y: Tensor, gradient: Tensor | None = None) -> Tensor:
        """Return the gradient float32[P'] of one batch of a client, without changing its weights.

        With a mean `gradient` float32[P'], return the curvature along it, as in Report.
        """
        size, here = self.layout.size, self.weights[slot : slot + 1]
        if gradient is None:
            return self._looked(slot, here, x, y)[1][0, :size]
        plan, point = self._plans[slot], self._pointed(slot, here)[0, :size].cpu().numpy()
        held = held_of(self.layout, plan.tensors, self._network.part_of(plan.mask))
        along, *batch = gradient.cpu().numpy() * held, x.cpu().numpy(), y.cpu().numpy()
        error, draws = self.kind.asked.error, self._draws[slot]
        found = self._network.curvature(point, along, *batch, error, plan.labels, draws)
        return torch.from_numpy(found).to(here.device)

    def changeable(self, plan: Plan) -> Integers | None:
        """Return int64[n], the coordinates that a client's steps may change; None for all."""
        if not self.kind.held or self.kind.mechanisms & {"threshold", "readjust"}:
            return None
        update = self._network.part_of(plan.update)
        free = free_of(self.layout, plan.backward, self._network.trained, update)
        running = ~self.layout.trained & (open_rows(self.layout, plan.backward) != 0)
        return np.flatnonzero(running | (free != 0))

    def _put(self, values: Tensor | None, slot: int, given: AnyArray | None) -> None:
        """Copy an array into the beginning of a row, unless either is None."""
        if values is not None and given is not None:
            values[slot, : len(given)] = torch.tensor(given).to(values.device, values.dtype)

    def _looked(
        self, slot: int, weights: Tensor, x: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return (point, whole gradient) of one batch of a client, both float32[1, size]."""
        rows, point = slice(slot, slot + 1), self._pointed(slot, weights)
        grad = torch.zeros_like(point)
        valid = torch.ones(1, len(y), dtype=torch.bool, device=grad.device)
        batch = Batches(x[None], y[None], valid, [len(y)])
        asked = PassRequest(self.kind.asked.error, by_labels=self.kind.asked.by_labels)
        labels = [values[rows] for values in self._labels]
        self._many.gradient(point, batch, labels, grad, asked, self._draws[rows])
        return point, grad

    def _pointed(self, slot: int, weights: Tensor) -> Tensor:
        """Return the point at which a client's gradient is taken, float32[1, size]."""
        rows = slice(slot, slot + 1)
        point = weights if self._mask is None else weights * self._mask[rows]
        moving = None if self._moving is None else self._moving[rows]
        return self._point.of(point, moving, self._draws[rows], self.layout.size, rows)[0]

    def _differentiate(
        self, batches: Batches, draws: list[Draws | None]
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Write the gradient at the plans' point; count its losses and statistics.

        Returns (point, factors of its gradient or None for 1, running statistics after the pass).
        """
        point = self.weights if self._mask is None else self.weights * self._mask
        point, slope = self._point.of(point, self._moving, draws, self.layout.size)
        rows = [*self._rows, *self._labels]
        dense = self._dense_statistics(batches, rows, draws)
        found = self._many.gradient(point, batches, rows, self._grad, self.kind.asked, draws)
        if self._idle:
            torch._foreach_zero_(self._idle)
        if self._shut is not None:
            self._grad.masked_fill_(self._shut, 0)
        count = torch.tensor(batches.count, dtype=torch.float64).to(self._grad.device)
        self.loss += found.loss.double() * count
        self.sums.see(point, self._grad, count, found)
        return point, slope, found.after if dense is None else dense

    def _correct(self, point: Tensor, slope: Tensor | None) -> None:
        """Change the gradient by slope, penalty, control and clip, in this order."""
        if slope is not None:
            self._grad *= slope
        if "penalty" in self.kind.mechanisms:
            self._penalise(point)
        if self._control is not None:
            self._grad += self._control
        if "clip" in self.kind.mechanisms:
            length = self._grad.double().square().sum(1, keepdim=True).sqrt() + 1e-6
            self._grad *= (self._numbers[3] / length).clamp(max=1).float()

    def _dense_statistics(
        self, batches: Batches, rows: list[Tensor], draws: list[Draws | None]
    ) -> dict[str, Tensor] | None:
        """dense_norm: return running statistics after a pass at the weights, with equal draws."""
        if self._scratch is None:
            return None
        with ExitStack() as ahead:
            for own in draws:
                if own is not None:
                    ahead.enter_context(own.ahead())
            asked = self.kind.asked
            found = self._many.gradient(self.weights, batches, rows, self._scratch, asked, draws)
        return found.after

    def _store_statistics(self, after: dict[str, Tensor], point: Tensor) -> None:
        """Copy running statistics into the weights; those of dropped rows do not change."""
        for tensor in self.layout.tensors:
            block = tensor.block
            below = tensor.layer < self.kind.asked.lowest
            if tensor.trained or tensor.name not in after or below:
                if not tensor.trained:
                    self.weights[:, block] = point[:, block]
                continue
            new = after[tensor.name].reshape(self._width, -1)
            if self._shut is not None:
                new = torch.where(self._shut[:, block], point[:, block], new)
            self.weights[:, block] = new

    def _readjust(self, steps: dict[int, int], mask: Tensor, moving: Tensor) -> None:
        """readjust: move the masks of clients that are due at this step, one after another."""
        size = self.layout.size
        for slot in (s for s, step in steps.items() if step in dict(self._plans[s].readjust)):
            vectors = mask, self.weights, self._grad, moving
            old, here, grad, free = (values[slot, :size].cpu().numpy() for values in vectors)
            start = None if self._start is None else self._start[slot, :size].cpu().numpy()
            old, plan = old.astype(np.uint8), self._plans[slot]
            new = moved_mask(self._network, plan, steps[slot], old, here, start, grad)
            self._put(moving, slot, (free | (new > old)) & (new >= old))
            same = torch.tensor(new == old)
            self.weights[slot, :size] *= same.to(self.weights.device)
            self._optimizer.forget(slot, same)
            self._put(mask, slot, new)
            self.sums.keep("mask", slot, new)

    def _penalise(self, point: Tensor) -> None:
        """penalty: add the gradient of the L2 norms, which is 0 for a group of zeros."""
        for tensor in (self.layout.tensors[t] for t in self.kind.tensors):
            rows = tensor.rows if self.kind.by_row else 1
            counted = 1.0 if self._penalised is None else self._penalised[:, tensor.block]
            values = (point[:, tensor.block] * counted).reshape(self._width, rows, -1)
            norm = values.norm(dim=2, keepdim=True)
            pull = torch.where(norm > 0, values / norm, 0.0).reshape(self._width, -1)
            self._grad[:, tensor.block] += self._numbers[1] * pull

    def _salient(self, point: Tensor, direction: Tensor) -> Tensor:
        """salient: return bool[K, size], the largest |w dL/dw|, and all entries of other tensors.

        Among equal values the first are chosen.
        """
        score = (point[:, self._inside] * direction[:, self._inside]).abs()
        order = score.argsort(dim=1, descending=True, stable=True)
        small = order[:, round(self.kind.salient * len(self._inside)) :]
        chosen = torch.ones_like(point, dtype=torch.bool)
        return chosen.scatter_(1, self._inside[small], False)

    def _threshold(self, ended: list[int]) -> None:
        """threshold: set entries of at most this magnitude to 0."""
        for slot in ended:
            values = self.weights[slot, self._inside]
            kept = torch.where(values.abs() <= self._numbers[2, slot], 0.0, values)
            self.weights[slot, self._inside] = kept
