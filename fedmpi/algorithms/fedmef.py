"""FedMef: a penalty on the smallest weights moves their information before they are pruned.

Huang, Zhuang, Chen and Lyu, "FedMef: Towards Memory-efficient Federated Dynamic Pruning", CVPR
2024, arXiv:2403.14737, written from the code of the authors' benchmark (github.com/FedPruning).
Masks change as in FedTiny, in all layers at once and without a choice of candidates. The
budget-aware extrusion adds penalty * |w_low| to the loss for each layer. w_low are the smallest of
the layer's kept weights as received, the share extruded / 2 (1 + cos(pi t / T)) of them. The
penalty ends after round T, which is the share `until` of all rounds.

Deviations: activations are not pruned (the other half of the paper, which saves memory). The
learning rate is constant, where the code raises it by the L1 norm of w_low and lowers it within the
round. First masks are equally dense in all layers, where the code uses ERK. The code counts pruned
weights among the smallest, so its penalty is 0 while at most half of a layer is kept; and its
share follows the cosine beyond T, so its penalty comes back.
"""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithms.fedtiny import FedTiny
from fedmpi.arrays import State
from fedmpi.exchange import required
from fedmpi.plan import Plan
from fedmpi.section import NotNegative


class FedMef(FedTiny, name="fedmef"):
    """FedTiny with a penalty on the smallest weights; sparsity = penalty = 0 is FedAvg."""

    remedy = "lower optimizer.lr or algorithm.penalty"

    class Keys(FedTiny.Keys):
        """The [algorithm] keys of FedMef."""

        candidates: int = Field(1, ge=1)  # number of candidates; with 1 there is no choice
        alpha: float = Field(0.2, ge=0, le=1)  # share of the weights that are replaced, at first
        layers: Literal["turn", "all"] = "all"  # how many layers change their masks at once
        penalty: NotNegative = 1.0  # weight of the penalty on the smallest weights
        extruded: float = Field(0.5, ge=0, le=1)  # share of kept weights with a penalty, at first

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return FedTiny's plan with the penalty."""
        plan = super().plan(state, round, client)
        last = self.keys.until * self.setting.rounds
        if self.chooses(state, round) or round >= last or not self.keys.penalty:
            return plan
        mask = required(plan.mask)
        share = sparsity.cosine(self.keys.extruded, round, last)
        counts = sparsity.counts_of(self.layout, self.tensors, mask)
        left = {t: count - int(share * count) for t, count in counts.items()}
        high = sparsity.largest_of_each(self.layout, state["weights"], left, mask)
        low = mask - high * mask
        return replace(plan, tensors=self.tensors, penalty=self.keys.penalty, penalised=low)
