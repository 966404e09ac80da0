"""Who takes part in a round, with which weight, and from which state each client began."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedmpi.arrays import AnyArray, Bools, Integers, Reals, State
from fedmpi.exchange import Arrival, Job
from fedmpi.round.fixed import Experiment
from fedmpi.round.status import COMPLETED
from fedmpi.selectors import World
from fedmpi.world.conditions import Conditions


@dataclass(frozen=True, eq=False)
class Cohort:
    """The clients of one round: ids int64[n], ascending, and their shares float64[n].

    `outcomes` int64[n] are DROPPED or LATE (status.py) for clients that send nothing, since they
    are lost once they have their message, or called off; COMPLETED for all others, whatever
    becomes of them. `versions` int64[n] are the rounds in which the clients began. `begun` int64[.]
    are the clients that began in this round, in the order of their turns.
    """

    clients: Integers
    shares: Reals
    outcomes: Integers
    versions: Integers
    begun: Integers

    @property
    def dropped(self) -> Bools:
        """bool[n]: who sends nothing."""
        silent: Bools = self.outcomes != COMPLETED
        return silent


class Cohorts(ABC):
    """The cohorts of a run, as its schedule has them; alike on every rank.

    Attributes
    ----------
    conditions : Conditions
        Those of the round in hand; there are none before the first `cohort`.
    """

    conditions: Conditions

    @abstractmethod
    def cohort(self, state: State, round: int, now: float) -> Cohort:
        """Return the Cohort of a round that begins with `state` at virtual second `now`."""

    @abstractmethod
    def state_of(self, version: int) -> State:
        """Return the state that clients of the cohort began from in round `version`."""

    @abstractmethod
    def received(self, job: Job, arrival: Arrival) -> Arrival:
        """Return an Arrival as the server takes it in this round."""

    @abstractmethod
    def let_time_pass(self, clients: AnyArray, start: float) -> float:
        """Write the virtual times into a round's rows CLIENT[n]; return when the round ends."""

    @abstractmethod
    def arrays(self) -> Mapping[str, AnyArray]:
        """Return what a checkpoint must keep, arrays by name."""

    @abstractmethod
    def take(self, arrays: Mapping[str, AnyArray]) -> None:
        """Go on from what `arrays` returned."""


def world_of(fixed: Experiment, there: Bools | None, now: float) -> World:
    """Return what selectors may know at virtual second `now`.

    `there` bool[K] are the clients that can be asked if they have samples; None stands for all,
    and then no step is taken for each client.
    """

    def times() -> Reals:
        """Return the seconds of the cost model, which are worked out when first asked for."""
        return fixed.costs.seconds

    if there is None:
        return World(fixed.sizes, now, times, fixed.holders)
    return World(np.where(there, fixed.sizes, 0), now, times)


def shares_of(sizes: Integers, weighting: str) -> Reals:
    """Return float64[n]: the shares of clients with `sizes` int64[n] samples; 0 of those with none.

    They add up to one, in proportion to the samples or all equal.
    """
    weights = (sizes if weighting == "samples" else sizes > 0).astype(np.float64)
    shares: Reals = weights / max(weights.sum(), 1.0)
    return shares
