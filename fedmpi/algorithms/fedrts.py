"""FedRTS: the server draws masks from a Beta posterior for each weight.

Huang, Yang, Chen, Ye and Wu, "FedRTS: Federated Robust Pruning via Combinatorial Thompson
Sampling", NeurIPS 2025, arXiv:2501.19122, written from its published code (in
github.com/FedPruning). The first mask keeps the largest first weights of each layer at ERK's
densities. Of the K weights kept in a layer, k = alpha / 2 (1 + cos(pi t / T)) K are in doubt.
In each round a kept weight scores gamma times the share of the clients in whose layer it is
among the K - k largest, plus 1 - gamma if it is among them in the mean. Every `every` rounds, until
round T (the share `until` of all rounds), clients report the k pruned weights of each layer with
the largest gradients, one bit each; a pruned weight scores gamma times the share of the clients
that report it, plus (1 - gamma) / 2. The score s adds `trust` * s to the posterior's first
parameter and `trust` * (1 - s) to its second. Then a number is drawn from each weight's posterior,
and the K weights of each layer with the largest numbers are kept.

Deviations: gradients are those of one batch after training. In the code the first client of a
cohort votes as the mean does, because the mean overwrites that client's model.
"""

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithm import Algorithm
from fedmpi.arrays import Flags, Reals, State, Vector
from fedmpi.exchange import Arrival, Coding, Job, Part, Report, required
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import ERKPower, Section
from fedmpi.setting import Setting
from fedmpi.totals import Pending, Sums, Total


class FedRTS(Algorithm, name="fedrts"):
    """Masks by Thompson sampling; sparsity = 0 is FedAvg."""

    level = "coordinate"
    summed = ("core", "grown")
    prunes = True
    scheduled = True

    class Keys(Section):
        """The [algorithm] keys of FedRTS."""

        sparsity: float = Field(0.9, ge=0, lt=1)  # share of the weights that masks leave out
        power: ERKPower = 1.0  # exponent of ERK's densities
        alpha: float = Field(0.2, ge=0, le=1)  # share of the weights in doubt, at first
        every: int = Field(10, ge=1)  # rounds between masks
        until: float = Field(0.6, gt=0, le=1)  # share of the rounds after which masks are constant
        gamma: float = Field(0.5, ge=0, le=1)  # weight of clients' votes against that of their mean
        trust: float = Field(10.0, gt=0, le=1e9)  # weight of one round's result in the posterior

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.tensors = sparsity.prunable(self.layout)
        self._blocks = [self.layout.tensors[t].block for t in self.tensors]
        self._last = keys.until * setting.rounds

    def start(self, weights: Vector) -> State:
        """Return the largest first weights, their mask, and a uniform posterior."""
        one, density, power = np.ones(self.layout.size), 1.0 - self.keys.sparsity, self.keys.power
        mask = sparsity.largest_by_erk(self.layout, weights, self.tensors, density, power)
        return {"weights": weights * mask, "mask": mask, "won": one, "lost": one}

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: the sparse model both ways; in adjusting rounds also the gradient."""
        mask = state["mask"]
        held = Support(self.layout, "coordinate", mask)
        looks = ("gradient",) if self._adjusts(round) else ()
        return Plan(held, held, mask=mask, update=mask, statistics=looks)

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the weights, and in adjusting rounds bits for the largest pruned gradients."""
        parts = super().message(job, report)
        if "gradient" not in report.statistics:
            return parts
        keep = np.zeros(self.layout.size, np.uint8)
        for block in self._blocks:
            pruned = np.flatnonzero(required(job.plan.mask)[block] == 0)
            count = self._doubtful(required(job.plan.mask)[block], job.round)
            found = sparsity.largest(report.statistics["gradient"][block][pruned], count)
            keep[block][pruned] = found
        wanted = Support(self.layout, "coordinate", keep)
        return parts | {"grown": Part(keep.astype(np.float32), wanted, coding=Coding("ones"))}

    def add(self, sums: Mapping[str, Pending], arrival: Arrival) -> None:
        """Add the weights and bits, and the client's largest weights, known from its message."""
        super().add(sums, arrival)
        values, support, *_ = arrival.parts["weights"]
        core = self._core(values, support.mask(), arrival.round)
        held = Support(self.layout, "coordinate", core)
        sums["core"].add(core.astype(np.float32), arrival.share, held)

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Average, update the posterior, and in adjusting rounds draw a new mask."""
        if not sums["core"].all:
            return state
        weights, mask = sums["weights"].mean(state["weights"]), state["mask"]
        core, gamma = self._core(weights, mask, round), self.keys.gamma
        wins = (1 - gamma) * core + gamma * self._votes(sums["core"])
        reported = mask != 0
        if self._adjusts(round):
            grown = (1 - gamma) / 2 + gamma * self._votes(sums["grown"])
            wins, reported = np.where(reported, wins, grown), np.ones_like(reported)
        won = state["won"] + self.keys.trust * np.where(reported, wins, 0)
        lost = state["lost"] + self.keys.trust * np.where(reported, 1 - wins, 0)
        if self._adjusts(round):
            drawn = self.rng_for("fedrts", round).beta(won, lost)
            counts = sparsity.counts_of(self.layout, self.tensors, mask)
            mask = sparsity.largest_of_each(self.layout, drawn, counts)
        return {**state, "weights": weights * mask, "mask": mask, "won": won, "lost": lost}

    def _votes(self, total: Total) -> Reals:
        """Return float64[P]: the share of the clients that vote for each weight."""
        found = total.mean(np.zeros(self.layout.size, np.float32)).astype(np.float64)
        return np.minimum(found, 1)  # a fast sum of all shares may be a little more than 1

    def _core(self, weights: Vector, mask: Flags, round: int) -> Flags:
        """Return uint8[P]: 1 for the largest weights of each layer, without the k in doubt."""
        core = np.zeros(self.layout.size, np.uint8)
        for block in self._blocks:
            alive = np.flatnonzero(mask[block])
            count = len(alive) - self._doubtful(mask[block], round)
            core[block][alive] = sparsity.largest(weights[block][alive], count)
        return core

    def _adjusts(self, round: int) -> bool:
        return 0 < round <= self._last and round % self.keys.every == 0

    def _doubtful(self, mask: Flags, round: int) -> int:
        """Return k, the number of weights in doubt, for a layer's mask uint8[n]."""
        share = sparsity.cosine(self.keys.alpha, round, self._last)
        return min(int(share * mask.sum()), int((mask == 0).sum()))
