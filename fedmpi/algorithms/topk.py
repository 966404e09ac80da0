"""Top-k with error feedback: a client sends the largest changes and keeps the rest for later.

Aji and Heafield, EMNLP 2017, arXiv:1704.05021; Stich, Cordonnier and Jaggi, "Sparsified SGD
with Memory", NeurIPS 2018, arXiv:1809.07599: the residual, the part of the change that was not
sent, is added to the client's next change before the largest entries are chosen. Here the change is
that of a whole round. Entries that a client did not send count as 0 in the mean. Running statistics
always travel. With a policy in [devices] each client sends its own share: `share`, or a half, a
quarter, ... down to 1/64 of it.
"""

from functools import lru_cache

import numpy as np
from pydantic import Field

from fedmpi.algorithms.sparse_upload import SparseUpload
from fedmpi.arrays import Memory, State, Vector
from fedmpi.exchange import Arrival, Job, Part, Parts, Report
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import Section
from fedmpi.sparsity import largest
from fedmpi.totals import Sums


class TopK(SparseUpload, name="topk"):
    """Sparse updates with error feedback; share = 1 is FedAvg up to rounding."""

    fill = "zero"
    base = None
    remembers = True
    knob = "share"

    class Keys(Section):
        """The [algorithm] keys of top-k."""

        share: float = Field(0.01, gt=0, le=1)  # share of the change that is sent
        feedback: bool = True  # keep the residual

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the largest entries of change and residual."""
        change = report.weights - job.state["weights"]
        if self.keys.feedback and "residual" in self.memory(report.client):
            change += self.memory(report.client)["residual"]
        return {"weights": Part(change, self._largest(change, self.share_of(report.client)))}

    def share_of(self, client: int) -> float:
        """Return the part of its changes that a client sends."""
        if not self.by_policy:
            return float(self.keys.share)
        values: list[float] = [self.keys.share * 0.5**power for power in range(6, -1, -1)]
        return self.setting.fit(values, client, self._typical)

    @lru_cache(maxsize=8)  # noqa: B019
    def _typical(self, share: float) -> Plan:
        """Return a Plan whose cost is that of a share, with coordinates scattered at random."""
        drawn = self.rng_for("topk-typical", 0).random(self.layout.size, np.float32)
        return Plan(down=Support.all(self.layout), up=self._largest(drawn, share))

    def _largest(self, change: Vector, share: float) -> Support:
        """Return the Support of the largest entries of float32[P] `change` and all statistics."""
        keep, trained = np.ones(self.layout.size, np.uint8), self.layout.trained
        magnitude = np.abs(change[trained])
        keep[trained] = largest(magnitude, max(1, round(share * magnitude.size)))
        return Support(self.layout, "coordinate", keep)

    def remember(self, job: Job, report: Report, message: Parts, arrival: Arrival) -> Memory | None:
        """Return the residual: the full change minus the values that arrived."""
        if not self.keys.feedback:
            return None
        return {"residual": message["weights"].values - arrival.parts["weights"].values}

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Add the mean change."""
        change = sums["weights"].mean(np.zeros_like(state["weights"]))
        return {**state, "weights": state["weights"] + change}
