"""Top-k with error feedback: a client sends the largest changes and keeps the rest for later.

Aji and Heafield, EMNLP 2017, arXiv:1704.05021; Stich, Cordonnier and Jaggi, "Sparsified SGD
with Memory", NeurIPS 2018, arXiv:1809.07599: the residual of what was not sent is added to
the client's next change before the largest are chosen. Here the change is that of a whole
round; what nobody sent counts as 0 in the mean. Running statistics always travel.
"""

import numpy as np
from pydantic import Field

from fedmpi.algorithm import Algorithm, Keys
from fedmpi.exchange import Part
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.sparsity import largest


class TopK(Algorithm, name="topk"):
    """Sparse updates with error feedback; share = 1 is FedAvg up to rounding."""

    level = "coordinate"
    fill = "zero"
    base = None
    remembers = True

    class Keys(Keys):
        """The [algorithm] keys of top-k."""

        share: float = Field(0.01, gt=0, le=1)  # part of the changes that is sent
        feedback: bool = True  # keep the residual

    def plan(self, state, round, client):
        """Everything down; what goes up is known after training."""
        everything = Support.all(self.layout)
        return Plan(down=everything, up=everything)

    @classmethod
    def sends_as_planned(cls, keys):
        """No: which changes are the largest is known after training."""
        return False

    def message(self, job, report):
        """The largest entries of change and residual."""
        change = report.weights - job.state["weights"]
        if self.keys.feedback and "residual" in self.memory(report.client):
            change += self.memory(report.client)["residual"]
        keep, trained = np.ones(self.layout.size, np.uint8), self.layout.trained
        magnitude = np.abs(change[trained])
        keep[trained] = largest(magnitude, max(1, round(self.keys.share * magnitude.size)))
        return {"weights": Part(change, Support(self.layout, "coordinate", keep))}

    def remember(self, job, report, message, arrival):
        """The residual: what was to be sent, less what arrived."""
        if not self.keys.feedback:
            return None
        return {"residual": message["weights"].values - arrival.parts["weights"].values}

    def step(self, state, sums, round):
        """Add the mean change."""
        change = sums["weights"].mean(np.zeros_like(state["weights"]))
        return state | {"weights": state["weights"] + change}
