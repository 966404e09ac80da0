"""FedDIP: dynamic global pruning with error feedback, and a growing group penalty.

Long, Anagnostopoulos, Parambath and Bi, "FedDIP: Federated Learning with Extreme Dynamic
Pruning and Incremental Regularization", ICDM 2023, arXiv:2309.06805, and its published code.
Clients take the gradient at the pruned weights w * m and apply it to the dense weights (Lin et
al., DPF, ICLR 2020). The server averages and prunes. Every `every` rounds its new mask keeps the
largest weights of all layers together and drops the share s_t of them. penalty = 0 is the
paper's FedDP.

s_t = end + (start - end)(1 - t/T)^3. In round 0 each client trains under its own ERK mask of
sparsity `start`. Deviation: in round t = 0 every client receives the dense model, since no
mask is shared yet.

upload = "dense", as in the code: a client sends all its weights. "pruned": it sends only the
weights in its mask. The others are 0 in the mean, so pruned weights never come back, whatever
`regrow` is.

regrow selects the weights that are ranked for a new mask. "dense_average": the mean as it
arrived, so that pruned weights can come back, as the paper intends. "released": the mean under
the old mask, as in the code, so that masks are nested. "feedback": like "dense_average", and each
client keeps the weights it learned outside the mask for its next round; the code loses them.
norm = "dense", as in the code: the running statistics of normalisation come from a pass with the
dense weights, beside the pass with the pruned weights that gives the gradient.
variant concerns the penalty only: "paper" takes max (i - 1)/Q in step i = 1..Q of T/Q rounds,
"released" 0 in the first step, then 5e-4 + (i - 2)(max - 5e-4)/(Q - 1).
"""

from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from fedmpi import sparsity
from fedmpi.algorithm import Algorithm
from fedmpi.arrays import Flags, Memory, State, Vector
from fedmpi.exchange import Arrival, Job, Parts, Report, required
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import ERKPower, NotNegative, Section
from fedmpi.setting import Setting
from fedmpi.totals import Sums

Regrow = Literal["dense_average", "released", "feedback"]


class FedDIP(Algorithm, name="feddip"):
    """Dynamic pruning; start = end = 0 and penalty = 0 is FedAvg."""

    fill = "zero"
    prunes = sends_as_planned = True
    remedy = "lower optimizer.lr or algorithm.penalty"
    scheduled = True

    class Keys(Section):
        """The [algorithm] keys of FedDIP."""

        start: float = Field(0.5, ge=0, lt=1)  # sparsity of the first masks, s_0
        end: float = Field(0.9, ge=0, lt=1)  # sparsity at the end, s_p
        every: int = Field(5, ge=1)  # R, rounds between masks
        penalty: NotNegative = 1e-3  # largest weight of the group penalty, lambda_max
        steps: int = Field(20, ge=2)  # number of steps in which the penalty grows, Q
        power: ERKPower = 1.0  # exponent of ERK's densities
        regrow: Regrow = "dense_average"  # which weights are ranked for a new mask
        upload: Literal["dense", "pruned"] = "dense"  # which weights clients send
        norm: Literal["masked", "dense"] = "masked"  # the pass that determines running statistics
        variant: Literal["paper", "released"] = "paper"  # how the penalty grows

        @model_validator(mode="after")
        def _sparser(self) -> Self:
            if self.end < self.start:
                raise ValueError(f"end = {self.end} is below start = {self.start}; raise it")
            return self

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.tensors = sparsity.prunable(self.layout)
        self.remembers = keys.regrow == "feedback"
        self.level = "model" if keys.upload == "dense" else "coordinate"

    def start(self, weights: Vector) -> State:
        """Return the first weights, and a mask that keeps all of them."""
        return {"weights": weights, "mask": np.ones(self.layout.size, np.uint8)}

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: the pruned model down; the mask for gradients at the pruned weights."""
        mask, start = state["mask"], None
        down = self._held(mask)
        if round == 0:
            mask = self._first_mask(client)
            down = Support.all(self.layout)
        elif self.keys.regrow == "feedback" and "residual" in self.memory(client):
            start = state["weights"] + (1 - mask) * self.memory(client)["residual"]
        return Plan(
            down=down,
            up=Support.all(self.layout) if self.keys.upload == "dense" else self._held(mask),
            start=start,
            mask=mask,
            dense_norm=self.keys.norm == "dense",
            tensors=self.tensors,
            penalty=self.penalty(round),
        )

    def remember(self, job: Job, report: Report, message: Parts, arrival: Arrival) -> Memory | None:
        """Return the trained weights outside the mask as the residual, if regrow = "feedback"."""
        if not self.remembers:
            return None
        return {"residual": (1 - required(job.plan.mask)) * report.weights}

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Average and prune, every `every` rounds with a new mask."""
        weights, mask = sums["weights"].mean(state["weights"]), state["mask"]
        if self.keys.regrow == "released":
            weights = weights * mask
        if round % self.keys.every == 0:
            share = self.sparsity(round)
            mask = sparsity.mask_of_largest(self.layout, weights, self.tensors, share)
        return {**state, "weights": weights * mask, "mask": mask}

    def _held(self, mask: Flags) -> Support:
        return Support(self.layout, "coordinate", mask)

    def sparsity(self, round: int) -> float:
        """Return s_t."""
        keys = self.keys
        return sparsity.cubic(round, self.setting.rounds, keys.start, keys.end)

    def penalty(self, round: int) -> float:
        """Return lambda_t."""
        keys = self.keys
        step = min(round * keys.steps // self.setting.rounds, keys.steps - 1)
        if keys.variant == "paper":
            return float(keys.penalty * step / keys.steps)
        least: float = min(5e-4, keys.penalty)
        return least + (step - 1) * (keys.penalty - least) / (keys.steps - 1) if step else 0.0

    def _first_mask(self, client: int) -> Flags:
        """Return the client's own ERK mask of round 0."""
        density, rng = 1.0 - self.keys.start, self.rng_for("feddip", 0, client)
        return sparsity.random_by_erk(self.layout, self.tensors, density, self.keys.power, rng)
