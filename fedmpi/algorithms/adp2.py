"""ADP v2: prune while training, inside an ordinary algorithm.

Yu, Nguyen, Anwar and Jannesari, "Heterogeneous Federated Learning using Dynamic Model Pruning
and Adaptive Gradient", arXiv:2106.06921 version 2 (2023). Its abstract and its published code
(FedDP) differ:

variant = "paper", the abstract: each step updates only the most salient weights, the share
`salient` of the entries of all convolutions with the largest |w dL/dw|. The rule for salience
is our choice, since the abstract names none. A client sends every weight that any step updated;
the others enter the mean with the value that the server sent.
variant = "released": after every local epoch, and after a client's last step, all weights of
convolutions of magnitude at most `threshold` are set to 0; they may grow back in the next epoch. A
client sends the nonzero weights. Zeros count in the mean, so the global model is usually denser
than any client's. Deviations: the code drops a client's last partial batch; fedmpi trains on it.
The code sets weights of shortcuts' 1x1 convolutions to 0 too.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Literal

import numpy as np
from pydantic import Field

from fedmpi.algorithms.inside import Inside, InsideKeys
from fedmpi.arrays import Bools, Flags, State
from fedmpi.exchange import Job, Part, Report
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.setting import Setting
from fedmpi.sparsity import convolutions, coordinates, grid
from fedmpi.totals import Sums


class ADP2(Inside, name="adp-v2"):
    """Pruning by salience or threshold.

    With salient = 1 or threshold = 0, or without convolutions, it is the inner algorithm.
    """

    knob = "salient"
    sends_as_planned = False  # only training shows which weights are sent

    class Keys(InsideKeys):
        """The [algorithm] keys of ADP v2."""

        variant: Literal["paper", "released"] = "paper"  # the abstract, or the code
        salient: float = Field(0.5, gt=0, le=1)  # share of weights that a step moves, for 'paper'
        threshold: float = Field(1e-3, ge=0)  # weights up to it become 0, for 'released'

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.tensors = convolutions(self.layout)
        self._inside = coordinates(self.layout, self.tensors)
        self._by_threshold = self.shows_support = keys.variant == "released"
        self.level = self.inner.level = "coordinate"
        self.fill = self.inner.fill = "zero" if self._by_threshold else "old"

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return the inner algorithm's plan, with the pruning of the variant."""
        plan = replace(super().plan(state, round, client), tensors=self.tensors)
        if self._by_threshold:
            down = self._support(state["weights"] != 0)
            return replace(plan, threshold=self.keys.threshold, down=down)
        return replace(plan, salient=self.salient_of(client), statistics=("moved",))

    def salient_of(self, client: int) -> float:
        """Return the share of weights that a client's step may move."""
        if not self.by_policy:
            return float(self.keys.salient)
        values = grid(min(0.05, self.keys.salient), self.keys.salient)
        return self.setting.fit(values, client, self._typical)

    @lru_cache(maxsize=32)  # noqa: B019
    def _typical(self, salient: float) -> Plan:
        """Return a Plan that sends as many weights as one step moves."""
        held = self.rng_for("adp-typical", 0).random(self.layout.size) < salient
        return Plan(down=Support.all(self.layout), up=self._support(held))

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the updated or unpruned weights of convolutions, and all other weights."""
        parts = super().message(job, report)
        weights = parts["weights"].values
        held = weights != 0 if self._by_threshold else report.statistics["moved"]
        return parts | {"weights": Part(weights, self._support(held))}

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Take the inner algorithm's step; a pruned weight that no client sent gets no noise."""
        if self._by_threshold:
            sums["weights"].unshift(self._inside & (sums["weights"].touched == 0))
        return super().step(state, sums, round)

    def kept(self, state: State) -> Flags | None:
        """Return uint8[P]: 1 for nonzero weights of convolutions and all other coordinates."""
        return self._support(state["weights"] != 0).keep

    def _support(self, held: Bools) -> Support:
        """Return the Support of bool[P] `held` and of all coordinates outside convolutions."""
        keep = (held | ~self._inside).astype(np.uint8)
        return Support(self.layout, "coordinate", keep)
