"""FedNova: normalised averaging, so that clients with more local steps do not count more.

Wang, Liu, Liang, Joshi and Poor, "Tackling the Objective Inconsistency Problem in
Heterogeneous Federated Optimization", NeurIPS 2020, arXiv:2007.07481, equation 6: with a_i
the norm of the weights that client i's optimiser gives its gradients,

    w <- w - (sum p_i a_i) sum p_i (w - w_i) / a_i

a_i is the number of steps t for plain SGD and (t - m (1 - m^t) / (1 - m)) / (1 - m) with
momentum m, as in its published code. Deviations: running statistics, which have no gradient, are
averaged with the clients' shares, where the code leaves each client its own; Adam counts as plain
SGD.
"""

from collections.abc import Mapping

import numpy as np

from fedmpi.algorithm import Algorithm
from fedmpi.arrays import State
from fedmpi.exchange import Arrival
from fedmpi.layout import ONE, Support
from fedmpi.plan import Plan
from fedmpi.totals import Pending, Sums, Total


class FedNova(Algorithm, name="fednova"):
    """Normalised averaging; with equal numbers of steps it is FedAvg up to rounding."""

    sends_as_planned = True

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan that sends the whole model both ways."""
        everything = Support.all(self.layout)
        return Plan(down=everything, up=everything)

    def zero(self) -> Sums:
        """Return the means with weights p and p / a, and the mean of a."""
        length = Total(ONE, exact=self.setting.exact)
        return {"weights": self.total(), "normalised": self.total(), "length": length}

    def add(self, sums: Mapping[str, Pending], arrival: Arrival) -> None:
        """Add a client to all three sums."""
        super().add(sums, arrival)
        values, support, *_ = arrival.parts["weights"]
        length = self.length(arrival.steps)
        sums["normalised"].add(values, arrival.share / length, support)
        sums["length"].add(np.array([length], np.float32), arrival.share)

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Take the normalised step."""
        weights, normalised = state["weights"], sums["normalised"]
        mean = sums["weights"].mean(weights)
        if not sums["length"].weight > 0:
            return state
        pulled = normalised.mean(weights) - weights  # sum (p/a) (w_i - w) / sum (p/a)
        scale = normalised.weight / sums["length"].weight
        scale *= float(sums["length"].mean(np.zeros(1, np.float32))[0])
        pulled *= np.float32(scale)
        noise = sums["weights"].noise  # a stage's noise, as FedAvg would add it to the change
        pulled = pulled if noise is None else pulled + noise
        step = np.where(self.layout.trained, pulled, mean - weights)
        return {**state, "weights": weights + step}

    def length(self, steps: int) -> float:
        """Return a_i of a client that took `steps` steps."""
        m = self.setting.optimizer.momentum if self.setting.optimizer else 0.0
        if m > 0.999:  # the closed form divides by (1 - m)^2 and loses its digits
            return float(m ** np.arange(steps) @ np.arange(steps, 0, -1))
        return (steps - m * (1 - m**steps) / (1 - m)) / (1 - m) if m else float(steps)
