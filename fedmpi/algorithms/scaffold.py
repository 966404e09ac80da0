"""SCAFFOLD: control variates correct the drift of clients with other data.

Karimireddy, Kale, Mohri, Reddi, Stich and Suresh, "SCAFFOLD: Stochastic Controlled Averaging
for Federated Learning", ICML 2020, arXiv:1910.06378, algorithm 1 with option II:

    every local gradient gets + c - c_i;  c_i <- c_i - c + (w_t - w_i) / (steps * lr)
    c <- c + (sum over the cohort of the change of c_i) / number of all clients

Both c and its change travel beside the weights, so messages are twice as long. Our choices: w is
the mean by the cohort's shares, with server step 1. With momentum the correction goes through the
optimiser like a gradient, and c_i keeps the formula above. A rate below 1.2e-38, at which no weight
moves, leaves c_i as it is. variant = "released": c moves by the mean over the cohort. That is a
bug, since superseded, of the code that ADP builds on (NIID-Bench); it is here to repeat that code's
results, and is not a fair baseline. No code of the authors was found. NIID-Bench begins with the
same random vector for c and all c_i; its effect ends when all clients have been drawn.

Beware of large rates. c_i is the mean gradient along a path that the old c_i helped to bend, so a
client's error can amplify itself with a gain that grows with steps * lr. LeNet-5 on Fashion-MNIST,
50 clients, ten a round, some 40 steps: at 0.1 one client's |c - c_i| grows to 3.3 in round 22 and
5.6 in round 32, eleven times the others' median, where its loss of 19 ends the run; at 0.05 the
largest stays below 3.1. Equal shares and the released variant diverge at 0.1 too.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from fedmpi.algorithm import Algorithm
from fedmpi.arrays import Memory, State, Vector
from fedmpi.exchange import Arrival, Job, Part, Parts, Report
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import Section
from fedmpi.totals import Pending, Sums, Total

LEAST = np.finfo(np.float32).smallest_normal  # of a rate at which weights move


class Scaffold(Algorithm, name="scaffold"):
    """Federated averaging with control variates."""

    remembers = True

    class Keys(Section):
        """The [algorithm] keys of SCAFFOLD."""

        variant: Literal["paper", "released"] = "paper"  # how control variates are averaged

    def start(self, weights: Vector) -> State:
        """Return the weights, and a control variate of zeros."""
        return {"weights": weights, "control": np.zeros_like(weights)}

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: weights and control variate both ways; every gradient is corrected."""
        everything = Support.all(self.layout)
        own = self.memory(client).get("control", np.float32(0))
        return Plan(
            down=everything,
            up=everything,
            more_down={"control": everything},
            control=state["control"] - own,
        )

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the weights, and the change of the client's control variate."""
        change = np.zeros_like(report.weights)
        if report.steps and report.lr >= LEAST:
            rate = np.float32(1.0 / (report.steps * report.lr))
            change = (job.state["weights"] - report.weights) * rate - job.state["control"]
            change[~self.layout.trained] = 0
        whole = Support.all(self.layout)
        return super().message(job, report) | {"control": Part(change, whole)}

    def remember(self, job: Job, report: Report, message: Parts, arrival: Arrival) -> Memory | None:
        """Return the client's control variate."""
        own = self.memory(report.client).get("control", np.float32(0))
        return {"control": own + arrival.parts["control"].values}

    def zero(self) -> Sums:
        """Return the sums of weights and of control changes; a change not sent counts as 0."""
        control = Total(self.layout, self.level, "zero", self.setting.exact)
        return {"weights": self.total(), "control": control}

    def add(self, sums: Mapping[str, Pending], arrival: Arrival) -> None:
        """Add weights by share, and changes of control variates with equal weights."""
        super().add(sums, arrival)
        values, support, *_ = arrival.parts["control"]
        sums["control"].add(values, 1.0 / self.setting.clients, support)

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Move the weights and the control variate."""
        change = sums["control"].mean(np.zeros_like(state["control"]))
        if self.keys.variant == "paper":
            change *= np.float32(sums["control"].weight)
        return {**super().step(state, sums, round), "control": state["control"] + change}
