"""Sums that begin before a rank's last client: tried in some rounds, kept if that is faster.

What a rank has added up when only one of its clients is left is summed over the ranks behind
the training of that client; at the end of the round only what the last clients brought is. Exact
sums have no order, so the bits are the same; messages and times are not.
"""

import numpy as np

from fedmpi.algorithms import Algorithm
from fedmpi.arrays import Reals
from fedmpi.comm.base import Comm
from fedmpi.record.schema import PHASES
from fedmpi.totals import Total

TRAIN, WAIT, REDUCE = (PHASES.index(name) for name in ("train", "wait", "reduce"))
SHARE = 0.05  # a round whose sums take a smaller part of it has too little to gain
TURNS = 3  # rounds of each kind that are compared
GAIN = 0.97  # a round must fall to this part


class EarlySums:
    """Says when the sums of a rank begin; decides alike on all ranks.

    Attributes
    ----------
    active : bool
        Whether they begin before the last client in this round.
    """

    def __init__(self, choice: str, comm: Comm, algorithm: Algorithm, cohort: int) -> None:
        """Take [collective] overlap, "auto", "on" or "off", for rounds of `cohort` clients.

        With fewer than two clients for each rank, or where the MPI library allows no threads,
        or with sums that are not exact, it stays off.
        """
        able = comm.overlaps and algorithm.setting.exact and cohort >= 2 * comm.size
        self._comm, self._algorithm, self._choice = comm, algorithm, choice if able else "off"
        self.active = self._begun = False  # the first round makes windows and measures costs
        self._rounds = 0
        self._spent: dict[bool, list[float]] = {False: [], True: []}

    def begin(self, sums: dict[str, Total], left: int) -> None:
        """Begin the sum of `sums` if it is time, with `left` clients to go, and clear them."""
        if self.active and not self._begun and left <= 1:
            self._begun = True
            self._comm.sum_ahead(dict(sums))
            sums.update(self._algorithm.zero())

    def drop(self) -> None:
        """Forget the sum that was begun; all ranks together."""
        if self._begun:
            self._comm.drop_ahead()
            self._begun = False

    def learn(self, seconds: Reals, work: float) -> None:
        """Take what a round took, float64[phases, P], the same on all ranks, and its work.

        A round without work says nothing.
        """
        self._begun = False
        self._rounds += 1
        if self._choice == "on":
            self.active = True
        if self._choice != "auto" or self._rounds == 1 or not work:
            return
        spent = seconds[[TRAIN, WAIT, REDUCE]].sum(0).max()
        self._spent[self.active].append(spent / work)
        if self._rounds == 2 and seconds[REDUCE].max() < SHARE * spent:
            self._choice = "off"
        elif len(self._spent[True]) < TURNS:
            self.active = not self.active
        else:
            without, ahead = (np.median(self._spent[kind]) for kind in (False, True))
            self._choice, self.active = "decided", bool(ahead < GAIN * without)
