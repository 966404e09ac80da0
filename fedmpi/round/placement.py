"""Place the clients of a round on ranks, by predicted work, measured pace and client memories."""

import sys

import numpy as np

from fedmpi import returned
from fedmpi.arrays import Integers, Reals
from fedmpi.comm.base import Comm
from fedmpi.round.assignment import assign, at_home
from fedmpi.round.cohort import Cohort
from fedmpi.round.fixed import Experiment
from fedmpi.round.pace import Pace


class Placement:
    """Assign the clients of each round to ranks, alike on all ranks; no result depends on it."""

    def __init__(self, experiment: Experiment, comm: Comm) -> None:
        self._experiment, self._comm, self._pace = experiment, comm, Pace(comm.size)
        # True if clients keep memories between rounds.
        self._remembers = experiment.algorithm.remembers or bool(experiment.stages)

    def of(self, cohort: Cohort, round: int) -> tuple[Integers, Reals]:
        """Return (rank of each client of a Cohort int64[n], its predicted work float64[n]).

        This is collective if clients keep memories between rounds.
        """
        experiment, comm, pace = self._experiment, self._comm, self._pace.seconds
        work = np.where(cohort.silent, 0.0, experiment.work(cohort.clients))
        if not self._remembers:
            return assign(work, pace), work
        homes = experiment.memories.homes_of(cohort.clients)
        asked = np.flatnonzero(np.where(homes < 0, 0, homes) == comm.rank)
        loads = np.zeros(len(work))
        for i in asked.tolist():
            load = experiment.algorithm.load(round, int(cohort.clients[i]))
            wanted = "a finite number, not negative"
            returned.number(load, experiment.algorithm, "load", wanted, sys.float_info.max)
            loads[i] = load
        work = work * comm.sum_array(loads)
        return at_home(assign(work, pace), work, homes), work

    def move(self, cohort: Cohort, ranks: Integers) -> int:
        """Move the clients' memories to their `ranks`; return the bytes sent. Collective."""
        if not self._remembers:
            return 0
        return self._experiment.memories.move(self._comm, cohort.clients, ranks)

    def learn(self, ranks: Integers, work: Reals, seconds: Reals) -> None:
        """Learn from the measured seconds float64[P] of a round with its clients on `ranks`."""
        self._pace.learn(seconds, np.bincount(ranks, work, self._comm.size).astype(np.float64))
