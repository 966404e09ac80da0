"""Start summing over ranks before a rank's last client, if trial rounds show that it is faster.

When only one client of a rank is left, its partial sums are added up over the ranks in the
background while that client trains. At the end of the round only the contributions of the last
clients remain to be summed. Exact sums do not depend on the order, so the results have the same
bits; only the messages and times differ.
"""

import numpy as np

from fedmpi.algorithms import Algorithm
from fedmpi.arrays import Reals
from fedmpi.comm.base import Comm
from fedmpi.record.schema import PHASES
from fedmpi.totals import Total

TRAIN, WAIT, REDUCE = (PHASES.index(name) for name in ("train", "wait", "reduce"))
SHARE = 0.05  # if sums take a smaller fraction of a round, there is too little to gain
TURNS = 3  # rounds of each kind, with and without early sums, that are compared
GAIN = 0.97  # early sums must reduce the time of a round to less than this fraction


class EarlySums:
    """Decide when the sums of a round start; the decision is the same on all ranks.

    Attributes
    ----------
    active : bool
        True if the sums of this round start before the last client.
    """

    def __init__(self, choice: str, comm: Comm, algorithm: Algorithm, cohort: int) -> None:
        """Set up for `choice`, [collective] overlap, and rounds of `cohort` clients.

        The choice is "auto", "on" or "off". Sums never start early if there are fewer than two
        clients per rank, if the MPI library does not support threads, or if sums are not exact.
        """
        able = comm.overlaps and algorithm.setting.exact and cohort >= 2 * comm.size
        self._comm, self._algorithm, self._choice = comm, algorithm, choice if able else "off"
        self.active = self._begun = False  # the first round makes windows and measures costs
        self._rounds = 0
        self._spent: dict[bool, list[float]] = {False: [], True: []}

    def begin(self, sums: dict[str, Total], left: int) -> None:
        """Start the sum of `sums` and reset them, if at most one of the rank's clients is left."""
        if self.active and not self._begun and left <= 1:
            self._begun = True
            self._comm.sum_ahead(dict(sums))
            sums.update(self._algorithm.zero())

    def drop(self) -> None:
        """Discard a sum that was started; collective."""
        if self._begun:
            self._comm.drop_ahead()
            self._begun = False

    def learn(self, seconds: Reals, work: float) -> None:
        """Learn from a round's `seconds` float64[phases, P], the same on all ranks, and its work.

        A round without work is ignored.
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
