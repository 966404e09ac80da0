"""How fast each rank has worked: what placement multiplies predicted work by."""

import numpy as np

from fedmpi.arrays import Reals


class Pace:
    """Measured seconds per unit of predicted work of each rank, the same on all ranks.

    A resumed run measures it again, since it may have other ranks.

    Attributes
    ----------
    seconds : float64[P]
        For a rank that has not worked yet, the mean of the ranks that have; 1 before the first.
    """

    def __init__(self, ranks: int) -> None:
        self.seconds: Reals = np.ones(ranks)
        self._known = np.zeros(ranks, bool)

    def learn(self, seconds: Reals, work: Reals) -> None:
        """Take the seconds float64[P] that the ranks spent on `work` float64[P] in a round."""
        busy = work > 0
        if not busy.any():
            return
        measured = seconds[busy] / work[busy]
        # A rank that had nothing to do keeps its pace; the average damps a single slow round.
        damped = 0.5 * (self.seconds[busy] + measured)
        self.seconds[busy] = np.where(self._known[busy], damped, measured)
        self._known |= busy
        self.seconds[~self._known] = self.seconds[self._known].mean()
