"""Corrections: the mechanisms that a Plan adds to a plain step, one class for each.

A step takes the gradient and moves the weights. The corrections of a plan act before the
gradient, and between the gradient and the move, in the order of `corrections_of`. The proximal
term is not a correction; it is part of the optimisers' kernels.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Flags, Integers, Vector
from fedmpi.layout import Layout
from fedmpi.learn.draws import Draws
from fedmpi.learn.moved_mask import moved_mask
from fedmpi.plan import Plan
from fedmpi.sparsity import coordinates, largest, power

if TYPE_CHECKING:  # these import this module
    from fedmpi.learn.networks import Network
    from fedmpi.learn.steps import Steps


class Correction:
    """One mechanism of a Plan, for the steps of one client. By default, methods do nothing.

    `changes_direction` is True if `after` writes to `steps.direction`.
    """

    changes_direction = False

    def before(self, steps: "Steps") -> None:
        """Act on `steps.point`, the weights at which the gradient will be taken."""

    def after(self, steps: "Steps", samples: int) -> None:
        """Act on `steps.direction` and `steps.moving`, between the gradient and the move.

        `samples` is the size of the batch.
        """

    def end_epoch(self, steps: "Steps") -> None:
        """Act on `steps.weights` after an epoch."""


class Masked(Correction):
    """`mask`: the gradient is taken at weights * mask, but applied to the weights themselves."""

    def before(self, steps: "Steps") -> None:
        """Set the point."""
        if steps.apart and steps.mask is not None:
            np.multiply(steps.weights, steps.mask, out=steps.point)

    def after(self, steps: "Steps", samples: int) -> None:
        """Copy the running statistics, which moved at the point, to the weights."""
        if steps.apart:
            steps.weights[steps.still] = steps.point[steps.still]


class Scored(Correction):
    """`scores`: a mask is drawn for each step, and the step moves the scores behind it.

    `fixed` float32[P'] are the weights that masks keep or drop; masks are drawn from `draws`.
    """

    changes_direction = True

    def __init__(self, fixed: Vector, draws: Draws) -> None:
        self._fixed, self._draws = fixed, draws
        self._slope, self._chance = np.empty((2, fixed.size))

    def before(self, steps: "Steps") -> None:
        """Draw a mask, and set the point."""
        chance, slope, still = self._chance, self._slope, steps.free == 0
        np.exp(-steps.weights, out=chance, dtype=np.float64)
        np.divide(1, np.add(chance, 1, out=chance), out=chance)
        there = self._draws.numbers(chance.size) < chance
        np.multiply(self._fixed, there, out=steps.point)
        np.copyto(steps.point, steps.weights, where=still)
        np.multiply(self._fixed, chance, out=slope)
        np.multiply(slope, np.subtract(1, chance, out=chance), out=slope)
        slope[still] = 1

    def after(self, steps: "Steps", samples: int) -> None:
        """Turn the gradient by the weights into the gradient by the scores."""
        steps.weights[steps.still] = steps.point[steps.still]
        np.multiply(steps.direction, self._slope, out=steps.direction, casting="same_kind")


class Powered(Correction):
    """`power`: the gradient is taken at a power of the trained parameters."""

    changes_direction = True

    def __init__(self, plan: Plan, layout: Layout) -> None:
        self._inside, self._power = coordinates(layout, plan.tensors), plan.power
        self._blocks = slices(layout, plan.tensors)
        self._slope, self._mask = np.ones(layout.size, np.float32), np.zeros(0, np.uint8)
        # Parts of the vector in which parameters may be nonzero; only their powers are computed.
        self._places: Sequence[slice | Integers] = self._blocks

    def before(self, steps: "Steps") -> None:
        """Set the point."""
        point, rate = steps.point, np.float32(self._power)
        if steps.mask is None:
            np.copyto(point, steps.weights)
        else:
            self._follow(steps.mask)
            np.multiply(steps.weights, steps.mask, out=point)
            for block in self._blocks:
                point[block] += 0  # turns -0 into 0
        for place in self._places:
            inside = point[place]
            self._slope[place] = rate * np.abs(inside) ** (self._power - 1)
            point[place] = power(inside, self._power)

    def after(self, steps: "Steps", samples: int) -> None:
        """Turn the gradient by the weights into the gradient by the parameters."""
        steps.weights[steps.still] = steps.point[steps.still]
        np.multiply(steps.direction, self._slope, out=steps.direction)

    def _follow(self, mask: Flags) -> None:
        """Restrict the powers to mask uint8[P']; other parameters get the slope at 0."""
        if not np.array_equal(mask, self._mask):
            zero = np.zeros(1, np.float32)
            self._slope[self._inside] = np.float32(self._power) * zero ** (self._power - 1)
            self._mask, self._places = mask, [np.flatnonzero(self._inside & (mask != 0))]


class Important(Correction):
    """`importance`: gradients are larger where a weight is near the threshold of a mask."""

    changes_direction = True

    def __init__(self, plan: Plan, layout: Layout) -> None:
        self._blocks, self._most = slices(layout, plan.tensors), np.float32(plan.importance)

    def after(self, steps: "Steps", samples: int) -> None:
        """Scale the gradient."""
        for block in self._blocks:
            size, most = np.abs(steps.point[block]), self._most
            steps.direction[block] *= 1 + 2 * most * size / (size + most) ** 2


class Measured(Correction):
    """`statistics`: sums over the steps."""

    def after(self, steps: "Steps", samples: int) -> None:
        """Add this step to the sums."""
        steps.statistics.see(steps.point, steps.grad, samples)


class Readjusted(Correction):
    """`readjust`: at some steps a part of the mask is replaced; new weights and moments are 0."""

    def __init__(self, plan: Plan, network: "Network") -> None:
        self._plan, self._network, self._at = plan, network, dict(plan.readjust)

    def after(self, steps: "Steps", samples: int) -> None:
        """Replace the mask, and the set of moving weights that follows from it."""
        old, weights = steps.mask, steps.weights
        if steps.count not in self._at or old is None:
            return
        new = moved_mask(
            self._network, self._plan, steps.count, old, weights, steps.start, steps.grad
        )
        weights[new != old] = 0
        steps.take_mask(new, (steps.free | (new > old)) & (new >= old))
        steps.moving = steps.free
        steps.statistics.keep("mask", new)


class Penalised(Correction):
    """`penalty`: adds the gradient, at the point, of the L2 norms of tensors or of their rows."""

    changes_direction = True

    def __init__(self, plan: Plan, network: "Network") -> None:
        self._blocks = blocks(network.layout, plan.tensors, plan.by_row)
        self._strength, self._counts = plan.penalty, network.part_of(plan.penalised)

    def after(self, steps: "Steps", samples: int) -> None:
        """Add the gradient of the penalty."""
        point = steps.point if self._counts is None else steps.point * self._counts
        kernels.penalty.group_norm(steps.direction, point, *self._blocks, self._strength)


class Controlled(Correction):
    """`control`: a vector that is added to every gradient."""

    changes_direction = True

    def __init__(self, control: Vector) -> None:
        self._control = control

    def after(self, steps: "Steps", samples: int) -> None:
        """Add the vector."""
        np.add(steps.direction, self._control, out=steps.direction)


class Clipped(Correction):
    """`clip`: a direction that is too long is scaled down, as by torch's clip_grad_norm_."""

    changes_direction = True

    def __init__(self, most: float) -> None:
        self._most = most

    def after(self, steps: "Steps", samples: int) -> None:
        """Scale down the direction if its norm is too large."""
        length = np.sqrt(np.square(steps.direction, dtype=np.float64).sum())
        if length + 1e-6 > self._most:
            steps.direction *= np.float32(self._most / (length + 1e-6))


class Salient(Correction):
    """`salient`: only the entries of the largest |w dL/dw| move."""

    def __init__(self, plan: Plan, layout: Layout) -> None:
        self._blocks, self._share = slices(layout, plan.tensors), plan.salient

    def after(self, steps: "Steps", samples: int) -> None:
        """Choose the entries that this step may move."""
        point, direction = steps.point, steps.direction
        scores = [point[block] * direction[block] for block in self._blocks]
        score = np.concatenate([point[:0], *scores])
        chosen, first = largest(np.abs(score), round(self._share * score.size)), 0
        steps.moving = steps.moving.copy()
        for block in self._blocks:
            size = block.stop - block.start
            steps.moving[block] *= chosen[first : first + size]
            first += size


class Moved(Correction):
    """The statistic "moved"."""

    def after(self, steps: "Steps", samples: int) -> None:
        """Record the entries that this step may move."""
        steps.statistics.moved(steps.moving)


class Thresholded(Correction):
    """`threshold`: after an epoch, small entries become 0."""

    def __init__(self, plan: Plan, layout: Layout) -> None:
        self._blocks, self._most = slices(layout, plan.tensors), np.float32(plan.threshold)

    def end_epoch(self, steps: "Steps") -> None:
        """Set small entries to 0."""
        for block in self._blocks:
            entries = steps.weights[block]
            entries[np.abs(entries) <= self._most] = 0


def corrections_of(plan: Plan, network: "Network", draws: Draws) -> list[Correction]:
    """Return the corrections that a Plan requires on a Network, in the order in which they act.

    A plan with scores draws its masks from `draws`.
    """
    layout = network.layout

    def of(values: Vector | None) -> Vector:  # called only if the plan has such values
        return cast(Vector, network.part_of(values))

    table: tuple[tuple[object, Callable[[], Correction]], ...] = (
        (plan.mask is not None, Masked),
        (plan.scores is not None, lambda: Scored(of(plan.scores), draws)),
        (plan.power != 1, lambda: Powered(plan, layout)),
        (plan.importance, lambda: Important(plan, layout)),
        (plan.statistics, Measured),
        (plan.readjust, lambda: Readjusted(plan, network)),
        (plan.penalty, lambda: Penalised(plan, network)),
        (plan.control is not None, lambda: Controlled(of(plan.control))),
        (plan.clip, lambda: Clipped(plan.clip)),
        (plan.salient < 1, lambda: Salient(plan, layout)),
        ("moved" in plan.statistics, Moved),
        (plan.threshold, lambda: Thresholded(plan, layout)),
    )
    return [made() for asked, made in table if asked]


def slices(layout: Layout, tensors: Sequence[int]) -> list[slice]:
    """Return the slices of some tensors, without duplicates, in the order of the vector."""
    return [layout.tensors[t].block for t in sorted(set(tensors))]


def blocks(layout: Layout, tensors: Sequence[int], by_row: bool) -> tuple[Integers, Integers]:
    """Return (starts, stops) int64[G] of the blocks of some tensors, or of all their rows."""
    starts: list[int] = []
    sizes: list[int] = []
    for tensor in (layout.tensors[t] for t in tensors):
        rows = tensor.rows if by_row else 1
        size = tensor.size // rows
        starts += range(tensor.start, tensor.start + tensor.size, size)
        sizes += [size] * rows
    return np.array(starts, np.int64), np.array(starts, np.int64) + np.array(sizes, np.int64)
