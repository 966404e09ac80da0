"""The clients that take part in a round, their shares, and the states from which they began."""

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

    `outcomes` int64[n] (see status.py) is DROPPED for clients that are lost after they received
    their message, LATE for clients that are called off, and COMPLETED for all others, however their
    round ends. `versions` int64[n] holds the round in which each client began. `begun` int64[.]
    lists the clients that began in this round, in order of their turns.
    """

    clients: Integers
    shares: Reals
    outcomes: Integers
    versions: Integers
    begun: Integers

    @property
    def silent(self) -> Bools:
        """bool[n], True for clients that send nothing: those that are lost or called off."""
        found: Bools = self.outcomes != COMPLETED
        return found


class Cohorts(ABC):
    """The cohorts of a run, which follow its schedule; the same on every rank.

    Attributes
    ----------
    conditions : Conditions
        Conditions of the current round; not set before the first call of `cohort`.
    """

    conditions: Conditions

    @abstractmethod
    def cohort(self, state: State, round: int, now: float) -> Cohort:
        """Return the Cohort of a round that begins from `state` at virtual second `now`."""

    @abstractmethod
    def state_of(self, version: int) -> State:
        """Return the state from which clients of the cohort began in round `version`."""

    @abstractmethod
    def received(self, job: Job, arrival: Arrival) -> Arrival:
        """Return an Arrival as the server adds it in this round."""

    @abstractmethod
    def fill_times(self, clients: AnyArray, start: float) -> float:
        """Write the virtual times into a round's rows CLIENT[n]; return the round's end."""

    @abstractmethod
    def arrays(self) -> Mapping[str, AnyArray]:
        """Return the arrays that a checkpoint must store, by name."""

    @abstractmethod
    def restore(self, arrays: Mapping[str, AnyArray]) -> None:
        """Restore the cohorts from the result of `arrays`."""


def world_of(experiment: Experiment, there: Bools | None, now: float) -> World:
    """Return the World, all that selectors may know, at virtual second `now`.

    `there` bool[K] marks the available clients; of these, clients with samples may be selected.
    With None all clients are available, and no work is done for each client.
    """

    def times() -> Reals:
        """Return the seconds of the cost model, which are computed on first use."""
        return experiment.costs.seconds

    if there is None:
        return World(experiment.sizes, now, times, experiment.holders)
    return World(np.where(there, experiment.sizes, 0), now, times)


def shares_of(sizes: Integers, weighting: str) -> Reals:
    """Return the shares of clients with `sizes` int64[n] samples, float64[n] with sum 1.

    Shares are proportional to the samples, or equal. A client without samples has share 0.
    """
    weights = (sizes if weighting == "samples" else sizes > 0).astype(np.float64)
    shares: Reals = weights / max(weights.sum(), 1.0)
    return shares
