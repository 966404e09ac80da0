"""FedDST: clients train sparse models and move a small part of the mask now and then.

Bibikar, Vikalo, Wang and Chen, "Federated Dynamic Sparse Training: Computing Less,
Communicating Less, Yet Learning Better", AAAI 2022, arXiv:2112.09824. The first mask is
random (ERK). Every `every` rounds, until `until` of the rounds, each client drops the share alpha_t
of its weights with the least magnitude, layer by layer, and grows as many at 0 where its gradient
is largest; the server averages each weight over the clients that hold it, drops a weight that
nobody holds, and prunes every layer back to its size. alpha_t = alpha / 2 (1 + cos(pi t / T)), T
the last of these rounds. Its code has until = 0.5. variant = "released" multiplies by alpha twice,
as the code does.

Deviations: masks move at the first local step, with the gradient of that batch, where the code
moves them after the last local epoch (of ten), and trains them from the next round on; they move in
the rounds `every`, 2 `every`, ..., where the code does so a round later; the code's first mask
holds the largest first weights, and layers have shares by its own ERK, of sparsities; clients are
drawn without replacement. By a bug the code also "grows" weights that it still holds, which it sets
to 0, and so ends with fewer weights than it should.
"""

from typing import Literal

from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithm import Algorithm, Setting
from fedmpi.arrays import State, Vector
from fedmpi.exchange import Job, Part, Report
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import ERKPower, Section
from fedmpi.totals import Sums


class FedDST(Algorithm, name="feddst"):
    """Federated dynamic sparse training; sparsity = 0 is FedAvg."""

    level = "coordinate"
    prunes = True
    scheduled = True

    class Keys(Section):
        """The [algorithm] keys of FedDST."""

        sparsity: float = Field(0.8, ge=0, lt=1)  # share of the weights that masks leave out
        alpha: float = Field(0.01, ge=0, le=1)  # share of the weights that move, at first
        every: int = Field(15, ge=1)  # rounds between adjustments
        until: float = Field(1.0, gt=0, le=1)  # share of the rounds after which masks stay
        power: ERKPower = 1.0  # exponent of ERK's densities
        variant: Literal["paper", "released"] = "paper"  # 'released': alpha counts twice

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.tensors = sparsity.prunable(self.layout)

    def start(self, weights: Vector) -> State:
        """The first weights under a random mask."""
        shapes = [self.layout.tensors[t].shape for t in self.tensors]
        densities = sparsity.erk(shapes, 1.0 - self.keys.sparsity, self.keys.power)
        rng = self.rng_for("feddst", 0)
        mask = sparsity.random_mask(self.layout, self.tensors, densities, rng)
        return {"weights": weights * mask, "mask": mask}

    def plan(self, state: State, round: int, client: int) -> Plan:
        """The sparse model both ways; sometimes the client changes its mask."""
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

    @classmethod
    def sends_as_planned(cls, keys: Keys) -> bool:
        """No: now and then a client changes its mask."""
        return False

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """The weights under the client's own mask."""
        if not job.plan.readjust:
            return super().message(job, report)
        mask = report.statistics.get("mask", job.plan.mask)
        return {"weights": Part(report.weights, Support(self.layout, "coordinate", mask))}

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Average by votes, then prune each layer to the size it had."""
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
