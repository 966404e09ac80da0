"""FedMTL: clients' own models, all of them pulled towards their mean.

Smith, Chiang, Sanjabi and Talwalkar, "Federated Multi-Task Learning", NIPS 2017,
arXiv:1705.10467, in the form for deep networks of LG-FedAvg's code (arXiv:2001.01523), with which
FedSkel compares. Client i minimises

    CE(w_i) + strength (|W|^2 + tr(W Omega W^T)),  Omega = (I - 1 1^T / K)^2

with W the models of all K clients as columns. This Omega is a projection, so the second term
is sum |w_i - mean|^2 and its gradient is 2 (w_i - mean). A client therefore needs only the mean,
which comes down while its model goes up. The mean is scored as the global model, but the score
that the method aims at is local_accuracy.

Deviations: the mean is over all clients, where the code fills W with the first of them. As in the
code, W is constant within a round, so the mean is that of the last round. The code builds Omega
from a matrix of ones in place of I, which pulls nothing together; this is not offered. Running
statistics stay with each client.
"""

from collections.abc import Mapping

import numpy as np

from fedmpi.algorithm import Algorithm
from fedmpi.arrays import Memory, State, Vector
from fedmpi.exchange import Arrival, Job, Part, Parts, Report, required
from fedmpi.layout import Support
from fedmpi.plan import Own, Plan
from fedmpi.section import NotNegative, Section
from fedmpi.totals import Pending, Sums


class FedMTL(Algorithm, name="fedmtl"):
    """Multi-task learning; with strength = 0 every client trains alone."""

    base = None
    remembers = personal = sends_as_planned = True
    remedy = "lower optimizer.lr or algorithm.strength"

    class Keys(Section):
        """The [algorithm] keys of FedMTL."""

        # None: 10^-(1 + the number of digits of the number of parameters), as in the code.
        strength: NotNegative | None = None  # weight of the term that ties clients' models together

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: mean down, client's model up; gradients get 2 s (2 w - mean) added."""
        own = self.memory(client).get("own", state["first"])
        digits = len(str(self.layout.size))
        asked = self.keys.strength
        strength = np.float32(10.0 ** -(digits + 1) if asked is None else asked)
        whole = Support.all(self.layout)
        # The proximal term adds 4 s (w - own); the sum of both is 2 s (2 w - mean).
        mean: Vector = state["weights"]
        pull = 4 * strength * own - 2 * strength * mean
        return Plan(
            down=whole,
            up=whole,
            start=own,
            proximal=float(4 * strength),
            control=np.multiply(self.layout.trained, pull),
        )

    def start(self, weights: Vector) -> State:
        """Return the mean of all models, and the first weights, from which each of them starts."""
        return {"weights": weights, "first": weights}

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the change of the client's model."""
        return {"weights": Part(report.weights - required(job.plan.start), job.plan.up)}

    def remember(self, job: Job, report: Report, message: Parts, arrival: Arrival) -> Memory | None:
        """Return the client's model."""
        return {"own": report.weights}

    def own(self, state: State, client: int) -> Own | None:
        """Return the client's model."""
        memory = self.memory(client)
        return Own(memory["own"]) if memory else None

    def add(self, sums: Mapping[str, Pending], arrival: Arrival) -> None:
        """Add a change, every client with the same weight."""
        values, support, *_ = arrival.parts["weights"]
        sums["weights"].add(values, 1.0 / self.setting.clients, support)

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Move the mean by the sum of the cohort's changes over the number of clients."""
        total = sums["weights"]
        change = total.mean(np.zeros_like(state["weights"])) * np.float32(total.weight)
        return {**state, "weights": state["weights"] + change}
