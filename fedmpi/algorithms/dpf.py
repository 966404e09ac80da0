"""DPF: dynamic model pruning with feedback, on a server that keeps the dense weights.

Lin, Stich, Barba, Dmitriev and Jaggi, "Dynamic Model Pruning with Feedback", ICLR 2020,
arXiv:2006.07253: the gradient is taken at the pruned weights w * m and applied to the dense
weights, so that wrongly pruned weights come back. The mask keeps the largest weights of all
layers together, at a sparsity that rises as a cubic. Deviation: the paper trains centrally and
renews the mask every 16 iterations. Here the server renews it every `every` rounds, and the dense
weights travel both ways, since clients need them. The global model is the pruned model. No code of
its authors was found; a re-implementation prunes convolutions only.
"""

import numpy as np
from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithm import Algorithm
from fedmpi.arrays import State, Vector
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import Section
from fedmpi.setting import Setting
from fedmpi.totals import Sums


class DPF(Algorithm, name="dpf"):
    """Dynamic pruning with dense weights at the server; start = end = 0 is FedAvg."""

    base = "dense"
    prunes = scheduled = sends_as_planned = True

    class Keys(Section):
        """The [algorithm] keys of DPF."""

        start: float = Field(0.0, ge=0, lt=1)  # sparsity of the first mask
        end: float = Field(0.9, ge=0, lt=1)  # sparsity at the end
        every: int = Field(1, ge=1)  # rounds between masks

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.tensors = sparsity.prunable(self.layout)

    def start(self, weights: Vector) -> State:
        """Return the weights, both as pruned and as dense weights, and a mask that keeps all."""
        mask = np.ones(self.layout.size, np.uint8)
        return {"weights": weights, "dense": weights, "mask": mask}

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: the dense weights both ways; the mask goes down as the pruned Support."""
        held = Support(self.layout, "coordinate", state["mask"])
        whole = Support.all(self.layout)
        pruned = Support(self.layout, "coordinate", 1 - state["mask"])
        return Plan(
            down=held,
            up=whole,
            more_down={"dense": pruned},
            start=state["dense"],
            mask=state["mask"],
        )

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Average the dense weights, and every `every` rounds compute a new mask."""
        dense, mask = sums["weights"].mean(state["dense"]), state["mask"]
        if round % self.keys.every == 0:
            keys = self.keys
            share = sparsity.cubic(round, self.setting.rounds, keys.start, keys.end)
            mask = sparsity.mask_of_largest(self.layout, dense, self.tensors, share)
        return {**state, "weights": dense * mask, "dense": dense, "mask": mask}
