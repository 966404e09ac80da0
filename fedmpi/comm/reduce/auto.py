"""Which algorithm adds up a vector, and what the choice was worth."""

from dataclasses import dataclass, replace
from dataclasses import field as column
from time import perf_counter

import numpy as np

from fedmpi.comm.reduce import allgatherv, dense, dsar, halving, shared, split
from fedmpi.comm.reduce import plan as planning

ALGORITHMS = {
    "shared": shared,
    "allgatherv": allgatherv,
    "halving": halving,
    "split": split,
    "dsar": dsar,
    "dense": dense,
}
NAMES = tuple(ALGORITHMS)
SURPRISE = 0.02  # a union that was guessed better than this would not change the choice


@dataclass(frozen=True)
class Record:
    """How one sum was made.

    seconds : wall time on this rank
    bytes : sent by this rank, by message or built-in collective
    density : touched coordinates of the sum, over all coordinates
    predicted : modelled seconds of every algorithm, on the ranks that had to choose
    regret : modelled seconds that the choice lost, knowing the union afterwards
    """

    algorithm: str
    seconds: float = 0.0
    bytes: int = 0
    density: float = 0.0
    predicted: dict = column(default_factory=dict)
    regret: float = 0.0


def combine(link, field, weight, algorithm, cost):
    """Add up `field` over the ranks of `link`, in place, and the weight.

    Parameters
    ----------
    link : Link
    field : Field
    weight : int64 or float64
        One weight for all units; 0 where `field.cover` holds them.
    algorithm : str
        A name of ALGORITHMS, or "auto". Where "shared" is asked for but supports
        differ, the sum is dense.
    cost : Cost, or None if `algorithm` is not "auto"

    Returns
    -------
    (Record, weight)
    """
    start, before = perf_counter(), link.sent
    link.begin()
    plan, weight = planning.exchange(link, field, weight)
    predicted = {}
    if algorithm == "auto":
        predicted = _seconds(cost, plan)
        algorithm = _agreed(link, min(predicted, key=predicted.get))
    elif algorithm == "shared" and not plan.same:
        algorithm = "dense"
    union = None if field.flat else _units(link, field)
    ALGORITHMS[algorithm].reduce(link, field, plan)
    if union is not None:
        field.touched[:] = union
    touched = field.extent()
    link.done()
    regret = 0.0
    if predicted and abs(touched - plan.union(plan.ranks)) > SURPRISE * touched:
        hindsight = _seconds(cost, replace(plan, known=touched))
        regret = hindsight[algorithm] - min(hindsight.values())
    record = Record(
        algorithm,
        perf_counter() - start,
        link.sent - before,
        touched / max(field.size, 1),
        predicted,
        regret,
    )
    return record, weight


def _seconds(cost, plan):
    return {name: module.seconds(cost, plan) for name, module in ALGORITHMS.items()}


def _agreed(link, name):
    """Return rank 0's choice: float arithmetic of two machines may differ in a last bit."""
    choice = np.array([NAMES.index(name)])
    link.comm.Bcast(choice, root=0)
    return NAMES[choice[0]]


def _units(link, field):
    """Sum the few weights of larger units densely, in place; return the marks of all ranks."""
    link.allreduce(field.cover)
    union = field.touched.copy()
    link.unite(union)
    return union
