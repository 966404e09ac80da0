"""ADP v1: channel gates that depend on the sample, inside an ordinary algorithm.

Yu, Nguyen, Anwar and Jannesari, "Adaptive Dynamic Pruning for Non-IID Federated Learning",
arXiv:2106.06921 version 1 (2021), and its published code. Every convolution gets gates
(fedmpi/learn/gates.py) that keep a share of the channels for each sample, at least one, both in
training and in testing. Gates are trained and averaged like all other weights, so messages grow a
little, while inference and training cost about ratio^2. This cost is that of a device that skips
the closed channels of each sample. No engine does: all channels are computed, and closed channels
multiplied by 0, so the FLOPs that are reported fall and the run takes no less time. Of equal gates,
those of the first channels stay open. With ratio = 1 the model still has all of its gates, so it is
not the dense model. A model without convolutions gets no gates, and trains as in the inner
algorithm.

Deviation: the gated network is the dense network plus gates, where the published logs compare a
dense VGG-11 with a gated VGG-13. The code uses `squash` for VGG, and stem = false for residual
networks. Here residual networks need squash = true as well: a gate grows with the mean of the
stream that it reads and scales what is added to that stream, so activations grow from block to
block and training diverges in the first steps (ResNet-20 at a rate of 0.1 in the first round).
The published code never ran residual networks: all of its logs are of VGG.

With a policy in [devices] each client trains with its own ratio, one to eight eighths of `ratio`.
This is not in the paper. Evaluations use `ratio`.
"""

from dataclasses import replace
from functools import lru_cache

from pydantic import Field

from fedmpi.algorithms.inside import Inside, InsideKeys
from fedmpi.arrays import State
from fedmpi.exchange import required
from fedmpi.layout import Support
from fedmpi.plan import GATES, Gates, Plan, Submodel
from fedmpi.setting import Setting

PARTS = 8  # a policy chooses among the multiples of ratio / PARTS


class ADP1(Inside, name="adp-v1"):
    """Gated convolutions under FedAvg, FedProx, FedNova or SCAFFOLD."""

    knob = "ratio"

    class Keys(InsideKeys):
        """The [algorithm] keys of ADP v1."""

        ratio: float = Field(0.7, gt=0, le=1)  # share of the channels that stay open
        squash: bool = False  # a sigmoid on the gates' input; residual networks need it
        stem: bool = True  # gate the first convolution too

    @classmethod
    def gates(cls, keys: Keys) -> Gates | None:
        """Return the gates to build the model with."""
        return Gates(keys.ratio, keys.squash, keys.stem)

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        if not keys.squash:
            first = "set algorithm.squash = true, which residual networks need"
            self.remedy = f"{first}, or {self.remedy},"

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return the inner algorithm's plan, at the reduced cost of a gated model."""
        return self._with(super().plan(state, round, client), self.ratio_of(client))

    def ratio_of(self, client: int) -> float:
        """Return the share of the channels that stay open on a client."""
        if not self.by_policy:
            return float(self.keys.ratio)
        values: list[float] = [self.keys.ratio * part / PARTS for part in range(1, PARTS + 1)]
        return self.setting.fit(values, client, self._typical)

    @lru_cache(maxsize=PARTS)  # noqa: B019
    def _typical(self, ratio: float) -> Plan:
        """Return a Plan whose cost is that of a ratio."""
        whole = Support.all(self.layout)
        return self._with(Plan(down=whole, up=whole), ratio)

    def _with(self, plan: Plan, ratio: float) -> Plan:
        """Return `plan` for gates that keep the share `ratio` of the channels."""
        left = required(self.setting.gates)
        if ratio == self.keys.ratio:
            return replace(plan, gates=left())
        part = Submodel(options=((GATES, ratio),), shared=self.layout.size)
        return replace(plan, gates=left(ratio), submodel=part)
