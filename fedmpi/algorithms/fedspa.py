"""FedSpa: every client trains the global model under a sparse mask of its own, and moves that mask.

Huang, Liu, Shen, He, Lin and Tao, "Achieving Personalized Federated Learning with Sparse Local
Models", arXiv:2201.11380: masks are drawn once (ERK, each client its own); after training, the
share alpha_t of a client's weights of least magnitude goes, layer by layer, and as many come whose
gradient is largest on one batch; alpha_t = alpha / 2 (1 + cos(pi t / T)). The server adds the mean
of the clients' changes, which are 0 where a client holds nothing. With alpha = 0 masks stay.
Deviations: not known; written from the abstract and from code of others.
"""

import numpy as np
from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithm import Algorithm, Keys
from fedmpi.exchange import Part
from fedmpi.layout import Support
from fedmpi.plan import Own, Plan


class FedSpa(Algorithm, name="fedspa"):
    """Personal sparse masks; sparsity = 0 is FedAvg."""

    level = "coordinate"
    fill = "zero"
    base = None
    remembers = personal = True

    class Keys(Keys):
        """The [algorithm] keys of FedSpa."""

        sparsity: float = Field(0.5, ge=0, lt=1)
        alpha: float = Field(0.5, ge=0, le=1)
        power: float = Field(1.0, ge=0)  # of ERK

    def __init__(self, keys, setting):
        super().__init__(keys, setting)
        self.tensors = sparsity.prunable(self.layout)

    def plan(self, state, round, client):
        """What the client's mask holds, both ways; the gradient of all weights afterwards."""
        mask = self._mask(client)
        held = Support(self.layout, "coordinate", mask)
        return Plan(
            down=held,
            up=held,
            start=state["weights"] * mask,
            mask=mask,
            update=mask,
            statistics=("gradient",) if self.share(round) else (),
        )

    def message(self, job, report):
        """The change of the weights that the mask holds."""
        return {"weights": Part(report.weights - job.plan.start, job.plan.up)}

    def remember(self, job, report, message, arrival):
        """The mask after it was moved, a bit for each weight."""
        mask, share = job.plan.mask, self.share(job.round)
        if share and "gradient" in report.statistics:
            grad = report.statistics["gradient"]
            mask = sparsity.readjusted(
                self.layout, self.tensors, mask, report.weights, grad, share
            )
        return {"mask": np.packbits(mask)}

    def step(self, state, sums, round):
        """Add the mean of the changes."""
        change = sums["weights"].mean(np.zeros_like(state["weights"]))
        return state | {"weights": state["weights"] + change}

    def own(self, state, client):
        """The global weights under the client's mask."""
        mask = self._mask(client)
        return None if mask.all() else Own(state["weights"] * mask)

    def share(self, round):
        """Return alpha_t."""
        return self.keys.alpha / 2 * (1 + np.cos(np.pi * round / self.setting.rounds))

    def _mask(self, client):
        """uint8[P]: the client's mask, drawn before its first round."""
        if "mask" in self.memory(client):
            return np.unpackbits(self.memory(client)["mask"], count=self.layout.size)
        shapes = [self.layout.tensors[t].shape for t in self.tensors]
        densities = sparsity.erk(shapes, 1.0 - self.keys.sparsity, self.keys.power)
        rng = self.rng_for("fedspa", 0, client)
        return sparsity.random_mask(self.layout, self.tensors, densities, rng)
