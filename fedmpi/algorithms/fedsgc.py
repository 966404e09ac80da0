"""FedSGC: clients change their masks by how their own steps agree with the server's last step.

Tian, Liu, Li, Cheung and Wang, "Gradient-Congruity Guided Federated Sparse Training",
arXiv:2405.01189. Written from the abstract, and otherwise from the code of the authors of FedRTS
(github.com/FedPruning/FedPruning), in which clients never receive the server's directions, so that
no mask changes there. The first mask keeps the largest first weights of each layer at ERK's
densities. Every `every` rounds, until round T (the share `until` of all rounds), clients receive
the signs of the server's steps, at most two bits a weight. In the middle of its round a client
replaces the share alpha / 2 (1 + cos(pi t / T)) of each layer's weights. It drops weights of least
magnitude, the share `opposed` of them among the weights that it moved against the server's step. It
grows weights of largest gradient, the share `agreeing` of them among the weights that it would move
in the direction of that step. The server takes the mean, in which weights outside a client's mask
count as 0, and keeps the largest weights of each layer that any client holds, as many as before.

Deviations: the code's share (1 - t / T)^alpha replaces nearly every weight at first, so the share
is that of FedDST. If one group has too few weights, the rest comes from the other group, where the
code replaces fewer. `opposed` and `agreeing` are 0.01 and 0.1 in the code, which hardly prefers
either group. A weight that no client holds keeps the sign of the last step that it took, where the
paper's direction would be 0. The mask changes at one step, by the gradient of its batch, where the
code takes an epoch.
"""

from dataclasses import replace

import numpy as np
from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithm import Algorithm
from fedmpi.arrays import Bools, State, Vector
from fedmpi.exchange import Job, Part, Report
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import ERKPower, Section
from fedmpi.setting import Setting
from fedmpi.totals import Sums


class FedSGC(Algorithm, name="fedsgc"):
    """Masks that change by gradient congruity; sparsity = 0 is FedAvg."""

    level = "coordinate"
    fill = "zero"
    shows_support = True
    prunes = True
    scheduled = True

    class Keys(Section):
        """The [algorithm] keys of FedSGC."""

        sparsity: float = Field(0.9, ge=0, lt=1)  # share of the weights that masks leave out
        power: ERKPower = 1.0  # exponent of ERK's densities
        alpha: float = Field(0.2, ge=0, le=1)  # share of the weights that are replaced, at first
        every: int = Field(10, ge=1)  # rounds between changes of masks
        until: float = Field(0.6, gt=0, le=1)  # share of the rounds after which masks are constant
        opposed: float = Field(0.5, ge=0, le=1)  # share of drops against the step; paper's lambda
        agreeing: float = Field(0.5, ge=0, le=1)  # share of growth along the step; paper's beta

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.tensors = sparsity.prunable(self.layout)
        self._inside = sparsity.coordinates(self.layout, self.tensors)
        self._last = keys.until * setting.rounds

    def start(self, weights: Vector) -> State:
        """Return the largest first weights; the server has taken no step yet."""
        density, power = 1.0 - self.keys.sparsity, self.keys.power
        mask = sparsity.largest_by_erk(self.layout, weights, self.tensors, density, power)
        return {"weights": weights * mask, "mask": mask, "signs": np.zeros_like(weights)}

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: the sparse model both ways; signs and a new mask in adjusting rounds."""
        mask, signs = state["mask"], state["signs"]
        held = Support(self.layout, "coordinate", mask)
        plan = Plan(held, held, mask=mask, update=mask, tensors=self.tensors)
        steps = self.setting.steps(client)
        if not self._adjusts(round) or not steps:
            return plan
        return replace(
            plan,
            readjust=((steps // 2 + 1, sparsity.cosine(self.keys.alpha, round, self._last)),),
            signs=signs,
            portions=(self.keys.opposed, self.keys.agreeing),
            bits_down={"up": self._where(signs > 0), "down": self._where(signs < 0)},
            statistics=("mask",),
        )

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the weights under the client's own mask."""
        mask = report.statistics.get("mask", job.plan.mask)
        return {"weights": Part(report.weights, Support(self.layout, "coordinate", mask))}

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Average, store the step's signs, and in adjusting rounds cut layers to their size."""
        held, mask = sums["weights"].touched, state["mask"]
        if not held.any():
            return state
        weights = sums["weights"].mean(state["weights"])
        signs = np.where(held, np.sign(weights - state["weights"]), state["signs"])
        if self._adjusts(round):
            counts = sparsity.counts_of(self.layout, self.tensors, mask)
            mask = sparsity.largest_of_each(self.layout, weights, counts, held)
        return {**state, "weights": weights * mask, "mask": mask, "signs": signs * self._inside}

    def _where(self, found: Bools) -> Support:
        return Support(self.layout, "coordinate", found.astype(np.uint8))

    def _adjusts(self, round: int) -> bool:
        return 0 < round <= self._last and round % self.keys.every == 0
