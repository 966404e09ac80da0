"""FedSpa: every client trains the global model under its own sparse mask, and changes that mask.

Huang, Liu, Shen, He, Lin and Tao, "Achieving Personalized Federated Learning with Sparse Local
Models", arXiv:2201.11380: masks are drawn once (ERK, each client its own). After training a client
drops, layer by layer, the share alpha_t of its weights with the least magnitude, and grows as many
whose gradient on one batch is largest; alpha_t = alpha / 2 (1 + cos(pi t / T)). The server adds
the mean of the clients' changes, which are 0 outside a client's mask. With alpha = 0 masks are
constant. No code of its authors was found. Differences from the code of DisPFL (arXiv:2206.00187),
which draws and changes masks in the same way: there masks cover biases and normalisation too,
numbers are rounded up, weights that were just dropped may be grown again, gradients come from a
pass in evaluation mode, training clips gradients at a norm of 10, and all clients weigh the same.
"""

import numpy as np
from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithms.personal_mask import PersonalMask
from fedmpi.arrays import Flags, Memory, State
from fedmpi.exchange import Arrival, Job, Part, Parts, Report, required
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import ERKPower, Section
from fedmpi.totals import Sums


class FedSpa(PersonalMask, name="fedspa"):
    """Personal sparse masks; sparsity = 0 is FedAvg."""

    fill = "zero"
    base = None
    scheduled = sends_as_planned = True

    class Keys(Section):
        """The [algorithm] keys of FedSpa."""

        sparsity: float = Field(0.5, ge=0, lt=1)  # share of the weights that masks leave out
        alpha: float = Field(0.5, ge=0, le=1)  # share of the weights that are replaced, at first
        power: ERKPower = 1.0  # exponent of ERK's densities

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: the masked weights both ways, and afterwards the gradient of all."""
        mask = self.mask_of(client)
        held = Support(self.layout, "coordinate", mask)
        return Plan(
            down=held,
            up=held,
            start=sparsity.masked(state["weights"], mask),
            mask=mask,
            update=mask,
            statistics=("gradient",) if self.share(round) else (),
        )

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the change of the weights in the mask."""
        return {"weights": Part(report.weights - required(job.plan.start), job.plan.up)}

    def remember(self, job: Job, report: Report, message: Parts, arrival: Arrival) -> Memory | None:
        """Return the changed mask, a bit for each weight."""
        mask, share = required(job.plan.mask), self.share(job.round)
        if share and "gradient" in report.statistics:
            grad = report.statistics["gradient"]
            mask = sparsity.readjusted(
                self.layout, self.tensors, mask, report.weights, grad, share
            )
        return {"mask": np.packbits(mask)}

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Add the mean of the changes."""
        change = sums["weights"].mean(np.zeros_like(state["weights"]))
        return {**state, "weights": state["weights"] + change}

    def share(self, round: int) -> float:
        """Return alpha_t."""
        return sparsity.cosine(self.keys.alpha, round, self.setting.rounds)

    def first_mask(self, client: int) -> Flags:
        """Return uint8[P]: the mask that is drawn for a client."""
        density, rng = 1.0 - self.keys.sparsity, self.rng_for("fedspa", 0, client)
        return sparsity.random_by_erk(self.layout, self.tensors, density, self.keys.power, rng)
