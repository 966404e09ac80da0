"""LotteryFL: every client searches its own lottery ticket, a sparse part of the first weights.

Li, Sun, Wang, Duan, Li, Chen and Li, "LotteryFL: Empower Edge Intelligence with Personalized
and Communication-Efficient Federated Learning", SEC 2021, arXiv:2008.03371. A client puts its
mask on the global model; if that classes more than `accuracy` of its samples right and more
than `target` of the weights is left, it drops the share `rate` of the weights left in each
layer, those of least magnitude, and rewinds the rest to the first weights. Then it trains and
sends what its mask holds; a weight becomes the mean over the clients that hold it.
Deviations: accuracy is measured on the client's training samples, of which it has no others
here, and its cost is not counted. [clients] weighting = "uniform" counts clients as the code.
"""

import numpy as np
from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithm import Algorithm, Keys
from fedmpi.layout import Support
from fedmpi.plan import Own, Plan


class LotteryFL(Algorithm, name="lotteryfl"):
    """Personal lottery tickets; with target = 1 masks stay whole and it is FedAvg."""

    level = "coordinate"
    remembers = personal = True

    class Keys(Keys):
        """The [algorithm] keys of LotteryFL."""

        accuracy: float = Field(0.5, ge=0, le=1)  # on the client's samples, to prune
        rate: float = Field(0.2, gt=0, lt=1)  # of the weights left, each time
        target: float = Field(0.1, ge=0, le=1)  # share of weights at which pruning ends

    def __init__(self, keys, setting):
        super().__init__(keys, setting)
        self.tensors = sparsity.prunable(self.layout)
        self._inside = sparsity.coordinates(self.layout, self.tensors)

    def start(self, weights):
        """The weights, and the first ones for rewinding."""
        return {"weights": weights, "first": weights}

    def plan(self, state, round, client):
        """The client's ticket down and up, after pruning if it is good enough."""
        mask = self._ticket(client)
        start = state["weights"] * mask
        dense = mask[self._inside].mean() > self.keys.target
        if dense and self.accuracy(client, start) > self.keys.accuracy:
            mask = self.pruned(start, mask)
            start = state["first"] * mask
        held = Support(self.layout, "coordinate", mask)
        return Plan(down=held, up=held, start=start, mask=mask, update=mask)

    def remember(self, job, report, message, arrival):
        """The mask, a bit for each weight."""
        return {"mask": np.packbits(job.plan.mask)}

    def own(self, state, client):
        """The client's ticket on the global weights."""
        mask = self._ticket(client)
        return None if mask.all() else Own(state["weights"] * mask)

    def _ticket(self, client):
        """uint8[P]: the client's mask."""
        if "mask" not in self.memory(client):
            return np.ones(self.layout.size, np.uint8)
        return np.unpackbits(self.memory(client)["mask"], count=self.layout.size)

    def pruned(self, weights, mask):
        """Return uint8[P]: the mask without the smallest weights of each tensor."""
        new = mask.copy()
        for t in self.tensors:
            tensor = self.layout.tensors[t]
            block = slice(tensor.start, tensor.start + tensor.size)
            alive = np.flatnonzero(mask[block])
            left = len(alive) - round(self.keys.rate * len(alive))
            new[block][alive] = sparsity.largest(weights[block][alive], left)
        return new
