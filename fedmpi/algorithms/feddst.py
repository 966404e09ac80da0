"""FedDST: clients train sparse models and change a small part of the mask from time to time.

Bibikar, Vikalo, Wang and Chen, "Federated Dynamic Sparse Training: Computing Less,
Communicating Less, Yet Learning Better", AAAI 2022, arXiv:2112.09824. The first mask is
random (ERK). Every `every` rounds, up to the share `until` of all rounds, each client drops, layer
by layer, the share alpha_t of its weights with the least magnitude, and grows as many weights from
0 where its gradient is largest. The server averages each weight over the clients that hold it,
drops a weight that no client holds, and prunes every layer back to its size.
alpha_t = alpha / 2 (1 + cos(pi t / T)), where T is the last of these rounds. The code has
until = 0.5. variant = "released" multiplies by alpha twice, as the code does.

Deviations: masks change at the first local step, by the gradient of that batch, where the code
changes them after the last of ten local epochs and trains the new mask from the next round on.
They change in the rounds `every`, 2 `every`, ..., one round earlier than in the code. The code's
first mask holds the largest first weights, and its own ERK distributes sparsities, not densities.
Clients are drawn without replacement. By a bug the code also "grows" weights that it still holds,
sets them to 0, and so ends with fewer weights than it should.
"""

from typing import Literal

from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithm import Algorithm
from fedmpi.arrays import State, Vector
from fedmpi.exchange import Job, Part, Report
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import ERKPower, Section
from fedmpi.setting import Setting
from fedmpi.totals import Sums


class FedDST(Algorithm, name="feddst"):
    """Federated dynamic sparse training; sparsity = 0 is FedAvg."""

    level = "coordinate"
    prunes = True
    scheduled = True

    class Keys(Section):
        """The [algorithm] keys of FedDST."""

        sparsity: float = Field(0.8, ge=0, lt=1)  # share of the weights that masks leave out
        alpha: float = Field(0.01, ge=0, le=1)  # share of the weights that are replaced, at first
        every: int = Field(15, ge=1)  # rounds between adjustments
        until: float = Field(1.0, gt=0, le=1)  # share of the rounds after which masks are constant
        power: ERKPower = 1.0  # exponent of ERK's densities
        variant: Literal["paper", "released"] = "paper"  # 'released': alpha counts twice

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.tensors = sparsity.prunable(self.layout)

    def start(self, weights: Vector) -> State:
        """Return the first weights under a random mask."""
        density, rng = 1.0 - self.keys.sparsity, self.rng_for("feddst", 0)
        mask = sparsity.random_by_erk(self.layout, self.tensors, density, self.keys.power, rng)
        return {"weights": weights * mask, "mask": mask}

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: the sparse model both ways; the mask changes in adjusting rounds."""
        mask = state["mask"]
        held = Support(self.layout, "coordinate", mask)
        return Plan(
            down=held,
            up=held,
            mask=mask,
            update=mask,
            tensors=self.tensors,
            readjust=((1, self.share(round)),) if self._adjusts(round) else (),
            statistics=("mask",) if self._adjusts(round) else (),
        )

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the weights under the client's own mask."""
        if not job.plan.readjust:
            return super().message(job, report)
        mask = report.statistics.get("mask", job.plan.mask)
        return {"weights": Part(report.weights, Support(self.layout, "coordinate", mask))}

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Average over the clients that hold a weight, then prune each layer to its old size."""
        weights, voted = sums["weights"].mean(state["weights"]), sums["weights"].touched
        if not self._adjusts(round) or not voted.any():
            return {**state, "weights": weights * state["mask"]}  # late clients have older masks
        counts = sparsity.counts_of(self.layout, self.tensors, state["mask"])
        mask = sparsity.largest_of_each(self.layout, weights, counts, voted)
        return {**state, "weights": weights * mask, "mask": mask}

    def share(self, round: int) -> float:
        """Return alpha_t."""
        alpha = self.keys.alpha
        annealed = sparsity.cosine(alpha, round, self.keys.until * self.setting.rounds)
        return alpha * annealed if self.keys.variant == "released" else annealed

    def _adjusts(self, round: int) -> bool:
        last: float = self.keys.until * self.setting.rounds
        return 0 < round < last and round % self.keys.every == 0
