"""Static masks: prune once before training, then train the remaining weights.

mask = "snip": Lee, Ajanthan and Torr, "SNIP: Single-shot Network Pruning based on Connection
Sensitivity", ICLR 2019, arXiv:1810.02340: the weights of the largest |w dL/dw| stay. The first
round measures: each client of the cohort sends this score of one batch for all weights and does not
train (other papers take one batch of one client and do not count it). SNIP's code prunes biases
too, and does not train the weights that it scored but new ones. batches = n measures n batches of
each client; over all clients this is the mask of SSFL (arXiv:2405.09037). mask = "grasp": Wang,
Zhang and Grosse, "Picking Winning Tickets Before Training by Preserving Gradient Flow", ICLR 2020,
arXiv:2002.07376: measured in the same way, the weights of largest signed w (H g) stay, where g is
the gradient of the prunable weights. Its code also divides outputs by 200, redraws linear layers
and takes equally many samples of each class. mask = "synflow": Tanaka, Kunin, Yamins and Ganguli,
"Pruning neural networks without any data by iteratively conserving synaptic flow", NeurIPS 2020,
arXiv:2006.05467, and its code: in each of 100 steps the weights of largest synaptic flow stay,
fewer by a constant factor; no data is needed. mask = "erk" or "random": a random mask at
Erdos-Renyi-Kernel or at equal densities (Evci et al., "Rigging the Lottery", ICML 2020,
arXiv:1911.11134); mask = "magnitude": the largest first weights stay. These need no first round.
rescale = true divides the first weights that stay by the root of their tensor's density, so that
outputs keep their variance (He et al., ICCV 2015, arXiv:1502.01852); scores precede rescaling.
Deviation: the sum of scores over clients is weighted by the cohort's shares.
"""

from collections.abc import Mapping
from math import ceil
from typing import Literal

import numpy as np
from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithm import Algorithm
from fedmpi.arrays import AnyArray, Flags, State, Vector
from fedmpi.exchange import Arrival, Job, Part, Report, required
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import ERKPower, Section
from fedmpi.setting import Setting
from fedmpi.totals import Pending, Sums, Total

Rule = Literal["snip", "grasp", "synflow", "erk", "random", "magnitude"]
MEASURED = {"snip": ("gradient",), "grasp": ("gradient", "curvature")}
FLOWS = 100  # steps of SynFlow


class StaticMask(Algorithm, name="static-mask"):
    """Federated averaging of a network that was pruned at the start; sparsity = 0 is FedAvg."""

    level = "coordinate"
    fill = "zero"
    prunes = sends_as_planned = True

    class Keys(Section):
        """The [algorithm] keys of static masks."""

        mask: Rule = "snip"  # how weights are chosen
        sparsity: float = Field(0.9, ge=0, lt=1)  # share of the weights that the mask leaves out
        power: ERKPower = 1.0  # exponent of ERK's densities
        batches: int = Field(1, ge=1)  # batches that each client measures, for SNIP and GraSP
        rescale: bool = False  # divide first weights by sqrt(density)

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.tensors = sparsity.prunable(self.layout)
        self._inside = sparsity.coordinates(self.layout, self.tensors)
        if keys.mask in MEASURED:
            self.sends_as_planned = False  # the measuring round also sends scores

    def start(self, weights: Vector) -> State:
        """Return the first weights and their mask; the first step prunes by measured scores."""
        mask = np.ones(self.layout.size, np.uint8)
        share, rng = 1.0 - self.keys.sparsity, self.rng_for("static-mask", 0)
        if self.keys.mask == "magnitude":
            mask = self._mask_of(weights)
        elif self.keys.mask == "synflow":
            mask = self._synflow(weights)
        elif self.keys.mask == "erk":
            mask = sparsity.random_by_erk(self.layout, self.tensors, share, self.keys.power, rng)
        elif self.keys.mask == "random":
            shares = [share] * len(self.tensors)
            mask = sparsity.random_mask(self.layout, self.tensors, shares, rng)
        return {"weights": self._pruned(weights, mask), "mask": mask}

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan of the weights left, both ways, or of the scores of all weights, up."""
        whole = Support.all(self.layout)
        if self._measures(state):
            looks = {"statistics": MEASURED[self.keys.mask], "probes": self.keys.batches}
            return Plan(whole, Support.none(self.layout), steps=0, tensors=self.tensors, **looks)
        held = Support(self.layout, "coordinate", mask := state["mask"])
        return Plan(down=held, up=held, mask=mask, update=mask)

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the weights, or the scores."""
        parts = super().message(job, report)
        if job.plan.steps == 0:
            score = job.state["weights"] * report.statistics[MEASURED[self.keys.mask][-1]]
            score = np.abs(score) if self.keys.mask == "snip" else score
            parts["score"] = Part(score.astype(np.float32), Support.all(self.layout))
        return parts

    def zero(self) -> Sums:
        """Return the sum of weights, and the sum of scores if scores are measured."""
        scores = {"score": Total(self.layout, exact=self.setting.exact)}
        return {**super().zero(), **(scores if self.keys.mask in MEASURED else {})}

    def add(self, sums: Mapping[str, Pending], arrival: Arrival) -> None:
        """Add scores, or weights; a pruned weight counts as 0."""
        if "score" in arrival.parts:
            sums["score"].add(arrival.parts["score"].values, arrival.share)
        else:
            super().add(sums, arrival)

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Average, or prune after the measuring round."""
        if not self._measures(state):
            after = super().step(state, sums, round)
            return {**after, "weights": after["weights"] * state["mask"]}  # no noise elsewhere
        score = sums["score"].mean(state["weights"])
        # Ranks by magnitude: the least score becomes 0, and all others positive.
        mask = self._mask_of(score - score[self._inside].min())
        return {**state, "weights": self._pruned(state["weights"], mask), "mask": mask}

    def _pruned(self, weights: Vector, mask: Flags) -> Vector:
        """Return float32[P]: the first weights under a mask, rescaled if `rescale` is set."""
        pruned = weights * mask
        for tensor in (self.layout.tensors[t] for t in self.tensors if self.keys.rescale):
            density = max(mask[tensor.block].mean(), 1 / tensor.size)
            pruned[tensor.block] /= np.float32(np.sqrt(density))
        return pruned

    def _synflow(self, weights: Vector) -> Flags:
        """Return uint8[P]: SynFlow's mask of the first weights, with the counts of its code."""
        mask = np.ones(self.layout.size, np.uint8)
        for step in range(1, FLOWS + 1):
            score = required(self.setting.flow)(sparsity.masked(weights, mask))[self._inside]
            exact = (1.0 - self.keys.sparsity) ** (step / FLOWS) * score.size
            kept = ceil(exact) if step < FLOWS else round(exact)
            mask[self._inside] = sparsity.largest(score / max(score.max(), 1e-300), kept)
        return mask

    def _measures(self, state: State) -> bool:
        """Return whether this round measures: every round does until a client has reported."""
        zeros = round(self.keys.sparsity * self._inside.sum())
        return self.keys.mask in MEASURED and zeros > 0 and bool(state["mask"].all())

    def _mask_of(self, scores: AnyArray) -> Flags:
        return sparsity.mask_of_largest(self.layout, scores, self.tensors, self.keys.sparsity)
