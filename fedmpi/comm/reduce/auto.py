"""Choose the algorithm that adds up a vector, and judge the choice afterwards."""

from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol, TypeAlias

import numpy as np

from fedmpi.arrays import Flags
from fedmpi.comm.reduce import allgatherv, dense, dsar, forecast, halving, shared, split
from fedmpi.comm.reduce.cost import Cost
from fedmpi.comm.reduce.field import Field
from fedmpi.comm.reduce.forecast import Forecast, Weight
from fedmpi.comm.reduce.link import Link
from fedmpi.comm.reduce.packed import PackedField


class SumAlgorithm(Protocol):
    """A module that adds up a vector over ranks."""

    def reduce(self, link: Link, field: PackedField, plan: Forecast) -> None:
        """Add up `field` over the ranks, in place."""

    def seconds(self, cost: Cost, plan: Forecast) -> float:
        """Return the modelled time; infinite if the algorithm cannot be used."""


ALGORITHMS: dict[str, SumAlgorithm] = {
    "shared": shared,
    "allgatherv": allgatherv,
    "halving": halving,
    "split": split,
    "dsar": dsar,
    "dense": dense,
}
NAMES = tuple(ALGORITHMS)
ALIKE = 16  # a sum keeps the last algorithm if its sizes changed by at most one part in this many
SURPRISE = 0.02  # relative error of the expected union up to which no regret is computed
Kind: TypeAlias = tuple[int, int, int, int, bool]
"""Of a sum: size, marks, bytes of a value and of a weight, and if all ranks touch one support."""


@dataclass(frozen=True)
class Record:
    """How one sum was made.

    seconds : wall time on this rank
    bytes : bytes sent by this rank, in messages and built-in collectives
    density : fraction of the coordinates that the sum touches
    regret : modelled seconds that the best algorithm for the actual union would have saved
    """

    algorithm: str
    seconds: float = 0.0
    bytes: int = 0
    density: float = 0.0
    regret: float = 0.0


class Choice:
    """The algorithm for successive sums of one name, chosen again only when the sums change.

    For the first sum the algorithm is chosen by the expected union, and for the second by the
    actual union of the first. Sums are compared by integers that all ranks know, so all ranks
    decide the same.

    Attributes
    ----------
    algorithm : str
    """

    def __init__(self) -> None:
        self.algorithm = ""
        self._of: tuple[Kind, int, int] | None = None
        self._known: int | None = None  # size of the union on which the choice was based
        self._seen = 0  # coordinates of the last union

    def make(self, link: Link, plan: Forecast, cost: Cost) -> None:
        """Choose the algorithm for the sum of `plan`, or keep the last choice; collective."""
        kind = plan.size, plan.marks, plan.per_value, plan.per_weight, plan.same
        of = kind, plan.every, plan.most
        if self._of is None or self._of[0] != kind or not _near(of[1:], self._of[1:]):
            self._known = None
        elif self._known is not None and _near([self._seen], [self._known]):
            return
        else:
            self._known, plan = self._seen, plan.knowing(self._seen)
        self._of, predicted = of, _seconds(cost, plan)
        self.algorithm = _agreed(link, min(predicted, key=predicted.__getitem__))

    def regret(self, plan: Forecast, cost: Cost, union: int) -> float:
        """Return the modelled seconds that the choice lost, given the size of the actual union."""
        self._seen = union
        expected = plan.union(plan.ranks) if self._known is None else self._known
        if abs(union - expected) <= SURPRISE * union:
            return 0.0
        hindsight = _seconds(cost, plan.knowing(union))
        return hindsight[self.algorithm] - min(hindsight.values())


def combine(
    link: Link, field: Field, weight: Weight, algorithm: str, cost: Cost | None, choice: Choice
) -> tuple[Record, Weight]:
    """Add up `field`, in place, and `weight` over the ranks of `link`.

    Parameters
    ----------
    link : Link
    field : Field
    weight : int64 or float64
        Total weight of the updates that this rank added.
    algorithm : str
        A name of ALGORITHMS, or "auto". "dense" replaces "shared" if the supports differ.
    cost : Cost, or None if `algorithm` is not "auto"
    choice : Choice of the previous sums of the same name; changed in place

    Returns
    -------
    (Record, weight)
    """
    start, before = perf_counter(), link.sent
    link.begin()
    field = PackedField.of(field, link)
    plan, weight = forecast.exchange(link, field, weight)
    cost = cost if algorithm == "auto" else None
    if cost is not None:
        choice.make(link, plan, cost)
        algorithm = choice.algorithm
    elif algorithm == "shared" and not plan.same:
        algorithm = "dense"
    union = None if field.flat else _units(link, field)
    ALGORITHMS[algorithm].reduce(link, field, plan)
    if union is not None:
        field.touched[:] = union
    touched = field.extent()
    link.done()
    taken, density = perf_counter() - start, touched / max(field.size, 1)
    regret = 0.0 if cost is None else choice.regret(plan, cost, touched)
    return Record(algorithm, taken, link.sent - before, density, regret), weight


def _seconds(cost: Cost, plan: Forecast) -> dict[str, float]:
    return {name: module.seconds(cost, plan) for name, module in ALGORITHMS.items()}


def _agreed(link: Link, name: str) -> str:
    """Return rank 0's choice, since float arithmetic may differ in the last bit between nodes."""
    choice = np.array([NAMES.index(name)])
    link.comm.Bcast(choice, root=0)
    return NAMES[int(choice[0])]


def _units(link: Link, field: Field) -> Flags:
    """Sum the weights of larger units densely, in place; return the marks of all ranks together.

    Such units are few, so a sparse sum of their weights would save nothing.
    """
    link.allreduce(field.cover)
    union = field.touched.copy()
    link.unite(union)
    return union


def _near(numbers: Iterable[int], before: Iterable[int]) -> bool:
    return all(abs(a - b) * ALIKE <= b for a, b in zip(numbers, before, strict=True))
