"""LotteryFL: every client searches for its own lottery ticket, a sparse part of the first weights.

Li, Sun, Wang, Duan, Li, Chen and Li, "LotteryFL: Empower Edge Intelligence with Personalized
and Communication-Efficient Federated Learning", SEC 2021, arXiv:2008.03371. A client applies its
mask to the global model. If this model classifies more than the share `accuracy` of the client's
samples correctly and more than `target` of the weights are left, the client drops the share `rate`
of the weights left in each layer, those of least magnitude, and rewinds the rest to the first
weights. Then it trains and sends the weights left; a weight becomes the mean over the clients that
hold it. A client whose share rounds to no weight in any layer goes on training.
Deviations: accuracy is measured on the client's training samples, since it has no others
here (in the code, on up to 80 of its test samples), and its cost is not counted. By a bug the code
rewinds biases to the values that earlier clients gave them. [clients] weighting = "uniform" is the
code's mean.
"""

import numpy as np
from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithms.personal_mask import PersonalMask
from fedmpi.arrays import Memory, State, Vector
from fedmpi.exchange import Arrival, Job, Parts, Report, required
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import Section


class LotteryFL(PersonalMask, name="lotteryfl"):
    """Personal lottery tickets; with target = 1 masks stay whole and it is FedAvg."""

    class Keys(Section):
        """The [algorithm] keys of LotteryFL."""

        accuracy: float = Field(0.5, ge=0, le=1)  # accuracy above which a client prunes
        rate: float = Field(0.2, gt=0, lt=1)  # share of the weights left that is dropped each time
        target: float = Field(0.1, ge=0, le=1)  # share of the weights at which pruning ends

    @classmethod
    def targets(cls, keys: Section) -> tuple[str, ...]:
        """Return the kinds of targets that have an accuracy."""
        return ("class", "tokens")

    def start(self, weights: Vector) -> State:
        """Return the weights, and the first ones for rewinding."""
        return {"weights": weights, "first": weights}

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan of the client's ticket, pruned on the client if its accuracy suffices."""
        mask = self.mask_of(client)
        down = up = Support(self.layout, "coordinate", mask)
        start = sparsity.masked(state["weights"], mask)
        dense = mask[self._inside].mean() > self.keys.target
        if dense and self.accuracy(client, start) > self.keys.accuracy:
            left = sparsity.smaller(self.layout, self.tensors, mask, start, self.keys.rate)
            if not np.array_equal(left, mask):  # a small rate may drop nothing
                mask, start = left, sparsity.masked(state["first"], left)
                up = Support(self.layout, "coordinate", mask)
        return Plan(down=down, up=up, start=start, mask=mask, update=mask)

    def remember(self, job: Job, report: Report, message: Parts, arrival: Arrival) -> Memory | None:
        """Return the mask, a bit for each weight."""
        return {"mask": np.packbits(required(job.plan.mask))}
