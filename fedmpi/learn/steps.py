"""The steps of one client: the gradient at the plan's point, its corrections, the optimiser."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Bools, Flags, Integers, Reals, Vector
from fedmpi.layout import Layout, Support
from fedmpi.learn.corrections import corrections_of
from fedmpi.learn.draws import Draws
from fedmpi.learn.local import Local
from fedmpi.learn.statistics import Statistics
from fedmpi.plan import FULL, Backward, Plan
from fedmpi.sparsity import coordinates

if TYPE_CHECKING:  # networks.py imports this module
    from fedmpi.learn.networks import Network

LONG = 64  # mean number of coordinates per run from which runs are worthwhile


class Steps:
    """The steps of one client's training under one plan, on the weights of one network.

    Parameters
    ----------
    network : Network
        Its buffers and those of its Gradients are used, so only one Steps may use it at a time.
    plan : Plan
    local : Local
        The optimiser's keys.
    lr : float
        Learning rate of this round.
    start : float32[P']
        The weights at the start of training, in the network's own coordinates.
    draws : Draws
        The source of random numbers for masks that are drawn.

    Attributes
    ----------
    start : float32[P']
    weights : float32[P']
        The weights, changed in place by every step.
    point : float32[P']
        The weights at which the gradient is taken.
    apart : bool
        True if point and weights may differ and are two vectors; otherwise they are the same one.
    grad, direction : float32[P']
        The gradient, and the optimiser's input, which is a copy if corrections change it.
    mask : uint8[P'] or None
    free, moving : uint8[P']
        1 where the steps may move a weight, and where this step does.
    still : int64[n]
        The coordinates of the running statistics.
    count : int
        Number of steps so far.
    statistics : Statistics
    """

    def __init__(
        self, network: "Network", plan: Plan, local: Local, lr: float, start: Vector, draws: Draws
    ) -> None:
        self._network, self._plan, self._local, self._lr = network, plan, local, np.float32(lr)
        self._gradients, self.layout, self.still = network.backend, network.layout, network.still
        self.start, self.draws = start, draws
        self._first, self._second = network.moments
        network.moments[: 2 if local.optimizer == "adam" else 1] = 0
        # Working in the buffers of Gradients saves copies.
        self.grad, self.point = self._gradients.grad, self._gradients.weights
        self.point[:] = start
        self.mask, update = network.part_of(plan.mask), network.part_of(plan.update)
        self.apart = self._moves_apart()
        self.weights = start.copy() if self.apart else self.point
        self.free = self.moving = free_of(self.layout, plan.backward, network.trained, update)
        whole = update is None and plan.backward.whole
        self._edges = network.edges if whole else edges_of(self.free)
        self._backward = plan.backward
        if self.mask is not None:
            # Gradients of weights that never move are left out, unless a statistic needs them.
            looked_at = plan.readjust or plan.needs_whole_gradient
            wanted = update if plan.fixed and not looked_at else None
            self._backward = replace(plan.backward, mask=self.mask, update=wanted)
        self.statistics = Statistics(
            self.layout, plan.statistics, self._gradients.at_output
        )
        self._corrections = corrections_of(plan, network, draws)
        self._copies = any(correction.changes_direction for correction in self._corrections)
        self.direction = self.grad.copy() if self._copies else self.grad
        self.count = 0

    def _moves_apart(self) -> bool:
        """Return the value of `apart`: False if every weight is the point's from start to end."""
        plan, mask = self._plan, self.mask
        # Pruned weights that start at 0 and never move need no second vector; statistics move.
        stays = mask is None or (
            plan.fixed and bool(mask[self.still].all()) and not self.start[mask == 0].any()
        )
        return not stays or plan.scores is not None or plan.power != 1

    def take(self, x: AnyArray, y: Integers) -> float:
        """Take one step on the batch x float32[n, ...], y int64[n]; return its mean loss."""
        self.count += 1
        dense = self._dense_statistics(x, y)
        measured = self.statistics
        loss = self._gradient(x, y, self._backward, measured.activations, measured.pulls)
        if dense is not None:
            self.point[self.still] = dense
        self.moving = self.free
        if self._copies:
            np.copyto(self.direction, self.grad)
        for correction in self._corrections:
            correction.after(self, len(y))
        self._move()
        return loss

    def end_epoch(self) -> None:
        """Apply the plan's corrections at the end of an epoch."""
        for correction in self._corrections:
            correction.end_epoch(self)

    def measure(self, x: AnyArray, y: Integers) -> None:
        """Add one batch to the statistic "columns", without changing the weights."""
        self._look(x, y)
        self.statistics.columns(self.point, self.grad, len(y))

    def probe(self, look: str, x: AnyArray, y: Integers) -> int:
        """Measure the "gradient" or "curvature" of a batch, without changing the weights.

        Returns the number of samples that were differentiated.
        """
        if look == "gradient":
            self._look(x, y)
            self.statistics.mean(look, self.grad, len(y))
            return len(y)
        for correction in self._corrections:
            correction.before(self)
        along = self.statistics.found("gradient") * self._held
        product = self._network.curvature(
            self.point, along, x, y, self._plan.error, self._plan.labels, self.draws
        )
        self.statistics.mean(look, product, len(y))
        return 2 * len(y)

    def result(self) -> tuple[Vector, dict[str, Any]]:
        """Return the weights float32[P'], a copy, and the statistics by name."""
        return self.weights.copy(), self.statistics.result()

    @property
    def _held(self) -> AnyArray:
        """The coordinates of the direction of "curvature", bool[P']."""
        return held_of(self.layout, self._plan.tensors, self.mask)

    def take_mask(self, mask: Flags, free: Flags) -> None:
        """Continue with another mask uint8[P'], and move only where `free` uint8[P'] is 1.

        Where the mask differs, the optimiser forgets the steps before.
        """
        for moment in (self._first, self._second):
            moment[mask != self.mask] = 0
        self.mask, self.free, self._edges = mask, free, edges_of(free)
        self._backward = replace(self._backward, mask=mask, update=None)

    def _dense_statistics(self, x: AnyArray, y: Integers) -> Vector | None:
        """Return the running statistics after a pass at the weights; None if not needed."""
        plan = self._plan
        if not (plan.dense_norm and self.apart and self.still.size):
            return None
        np.copyto(self.point, self.weights)
        with self.draws.ahead():
            self._gradients.gradient(self.point, x, y, self.grad, plan.backward, None, plan.error)
        found: Vector = self.point[self.still]
        return found

    def _look(self, x: AnyArray, y: Integers) -> None:
        """Take the whole gradient of a batch, without changing the running statistics."""
        still = self.weights[self.still]
        self._gradient(x, y, FULL, None)
        self.weights[self.still] = still

    def _gradient(
        self, x: AnyArray, y: Integers, backward: Backward, activations: list[Reals] | None,
        pulls: Mapping[int, Reals] | None = None,
    ) -> float:
        for correction in self._corrections:
            correction.before(self)
        loss: float = self._gradients.gradient(
            self.point, x, y, self.grad, backward, activations, self._plan.error,
            self._plan.labels, pulls,
        )
        return loss

    def _move(self) -> None:
        local, decay, mu = self._local, self._local.weight_decay, self._plan.proximal
        update, weights, grad, moving = kernels.update, self.weights, self.direction, self.moving
        if local.optimizer == "adam":
            moments = (self._first, self._second)
            update.adam(
                weights, grad, *moments, self.start, moving, self._lr, decay, mu, self.count
            )
        else:
            update.sgd(
                weights, grad, self._first, self.start, moving, self._edges,
                self._lr, local.momentum, decay, mu,
            )  # fmt: skip


def free_of(
    layout: Layout, backward: Backward, trained: Flags, update: Flags | None
) -> Flags:
    """Return uint8[P']: 1 where the optimiser moves a weight; dropped rows do not move.

    `trained` uint8[P'] is 1 where a coordinate is trained; `update` is that of a Plan, or None.
    """
    moving = trained if backward.whole else trained * open_rows(layout, backward)
    return moving if update is None else moving * update


def open_rows(layout: Layout, backward: Backward) -> Flags:
    """Return uint8[P']: 0 in rows and layers that are left out of the backward pass."""
    rows = backward.rows or (None,) * len(layout.layers)
    below = [np.zeros(layer.rows, bool) for layer in layout.layers[: backward.lowest]]
    return Support.of_rows(layout, (*below, *rows[backward.lowest :])).mask()


def held_of(layout: Layout, tensors: Sequence[int], mask: AnyArray | None) -> Bools:
    """Return bool[P']: the coordinates of the gradient along which "curvature" is measured.

    These are the coordinates of `tensors` (of all, if there are none) that `mask` uint8[P'] keeps.
    """
    inside = coordinates(layout, tensors) if tensors else layout.trained
    found: Bools = inside if mask is None else inside & (mask != 0)
    return found


def edges_of(moving: Flags) -> NDArray[np.uint32]:
    """Return uint32[2 R]: the runs of coordinates where uint8[P] `moving` is not 0.

    If there are too many runs, a single run of all is returned: short runs cost more than they
    save.
    """
    runs = kernels.pack.count(moving)[1]
    if runs > moving.size // LONG:
        return np.array([0, moving.size], np.uint32)
    edges = np.empty(2 * runs, np.uint32)
    kernels.pack.edges(moving, edges)
    return edges
