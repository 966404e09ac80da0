"""The measured pace of each rank, by which placement multiplies predicted work."""

import numpy as np

from fedmpi.arrays import Reals


class Pace:
    """Measured seconds per unit of predicted work for each rank; the same on all ranks.

    A resumed run measures the pace again, since it may use other ranks.

    Attributes
    ----------
    seconds : float64[P]
        Pace of each rank. A rank that has not worked yet has the mean of the ranks that have; all
        are 1 before the first round.
    """

    def __init__(self, ranks: int) -> None:
        self.seconds: Reals = np.ones(ranks)
        self._known = np.zeros(ranks, bool)

    def learn(self, seconds: Reals, work: Reals) -> None:
        """Learn from the seconds float64[P] that ranks spent on `work` float64[P] in a round."""
        busy = work > 0
        if not busy.any():
            return
        measured = seconds[busy] / work[busy]
        # A rank without work keeps its pace. The average damps a single slow round.
        damped = 0.5 * (self.seconds[busy] + measured)
        self.seconds[busy] = np.where(self._known[busy], damped, measured)
        self._known |= busy
        self.seconds[~self._known] = self.seconds[self._known].mean()
