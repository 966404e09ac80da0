"""FedTiny: clients choose among pruned candidates, then the mask changes layer by layer.

Huang, Zhang, Sun, Fang, Yuan and Wu, "Distributed Pruning Towards Tiny Neural Networks in Federated
Learning", ICDCS 2023, arXiv:2212.01977. The two modules follow the abstract. The rule for changing
masks is that of the authors' benchmark (github.com/FedPruning/FedPruning, FedTiny without
selection: alpha 0.2, all layers at once, every 10 rounds). Layers in turn, uploads of the largest
gradients, and the selection, of which no code is published, are from memory.

The first rounds are the selection of candidates.py. Then every `every` rounds, up to the share
`until` of all rounds, one layer changes its mask, in cycles from the last layer to the first
(layers = "turn"), or all layers do ("all"). Clients send the largest gradients, of one batch, of
the layer's pruned weights. Of the mean weights the smallest, the share alpha / 2 (1 + cos(pi t /
T)), are dropped, and as many weights of largest mean gradient are grown from 0.

Deviations: candidates are ranked by accuracy, not by loss; their statistics are measured with the
model's momentum, one candidate a round; masks change by layer, not by block. In the benchmark
clients send the gradients of all weights, weights that were just dropped may be grown again,
numbers are rounded down, and first masks have ERK's densities.
"""

from typing import Literal

import numpy as np
from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithms.candidates import Candidates
from fedmpi.arrays import Flags, State
from fedmpi.exchange import Job, Part, Report, required
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.totals import Sums


class FedTiny(Candidates, name="fedtiny"):
    """A chosen mask that changes layer by layer; sparsity = 0 and candidates = 1 is FedAvg."""

    scheduled = True

    class Keys(Candidates.Keys):
        """The [algorithm] keys of FedTiny."""

        alpha: float = Field(0.3, ge=0, le=1)  # share of the weights that are replaced, at first
        every: int = Field(10, ge=1)  # rounds between changes of masks
        until: float = Field(0.33, gt=0, le=1)  # share of the rounds after which masks are constant
        layers: Literal["turn", "all"] = "turn"  # how many layers change their masks at once

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan of the choice, and after it of the sparse model both ways."""
        if self.chooses(state, round):
            return super().plan(state, round, client)
        mask = state["mask"]
        held = Support(self.layout, "coordinate", mask)
        looks = ("gradient",) if self._moving(state, round) else ()
        return Plan(held, held, mask=mask, update=mask, statistics=looks)

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the weights, and in adjusting rounds the largest gradients of pruned weights."""
        parts = super().message(job, report)
        if "gradient" not in report.statistics:
            return parts
        gradient, keep = report.statistics["gradient"], np.zeros(self.layout.size, np.uint8)
        for block in self._moving(job.state, job.round):
            mask = required(job.plan.mask)[block]
            pruned, count = mask == 0, self.count(job.round, mask)
            keep[block] = sparsity.largest(gradient[block] * pruned, count) * pruned
        return parts | {"measured": Part(gradient, Support(self.layout, "coordinate", keep))}

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Average, and change the masks of the layers whose turn it is."""
        if self.chooses(state, round):
            return super().step(state, sums, round)
        weights, mask = sums["weights"].mean(state["weights"]), state["mask"].copy()
        gradient = sums["measured"].mean(np.zeros_like(weights))
        for block in self._moving(state, round) if sums["measured"].all else []:
            alive, pruned = np.flatnonzero(mask[block]), np.flatnonzero(mask[block] == 0)
            count = self.count(round, mask[block])
            mask[block][alive] = sparsity.largest(weights[block][alive], len(alive) - count)
            mask[block][pruned] = sparsity.largest(gradient[block][pruned], count)
        return {**state, "weights": weights * mask, "mask": mask}

    def _moving(self, state: State, round: int) -> list[slice]:
        """Return the slices of the layers whose masks change in a round."""
        every, last = self.keys.every, self.keys.until * self.setting.rounds
        if self.chooses(state, round) or round % every or not 0 < round <= last:
            return []
        turn = -1 - (round // every - 1) % len(self.tensors)
        moving = self.tensors if self.keys.layers == "all" else [self.tensors[turn]]
        return [self.layout.tensors[number].block for number in moving]

    def count(self, round: int, mask: Flags) -> int:
        """Return how many weights of a layer's mask uint8[n] are replaced in a round."""
        share = sparsity.cosine(self.keys.alpha, round, self.keys.until * self.setting.rounds)
        return min(int(np.rint(share * mask.sum())), int((mask == 0).sum()))
