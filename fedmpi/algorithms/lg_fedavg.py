"""LG-FedAvg: some layers are shared by all clients, the others stay with each client.

Liang, Liu, Ziyin, Allen, Auerbach, Brent, Salakhutdinov and Morency, "Think Locally, Act
Globally: Federated Learning with Local and Global Representations", arXiv:2001.01523. All
layers are trained; only the shared layers travel. As in the paper, a run may begin with
`warmup` rounds of FedAvg, from whose model the personal layers start.
Deviation: the mean follows [clients] weighting; the code gives all clients the same weight.
"""

from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field

from fedmpi.algorithms.personal import Personal
from fedmpi.arrays import Memory, State
from fedmpi.exchange import Arrival, Job, Parts, Report
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import Section


class LGFedAvg(Personal, name="lg-fedavg"):
    """Local and global layers; with all of them shared it is FedAvg."""

    level = "layer"

    class Keys(Section):
        """The [algorithm] keys of LG-FedAvg."""

        shared: int = Field(2, ge=0)  # number of layers that all clients share
        side: Literal["first", "last"] = "last"  # the end of the model with the shared layers
        warmup: int = Field(0, ge=0)  # rounds of FedAvg at the beginning

    @cached_property
    def _shared(self) -> Support:
        """The Support of the layers that all clients share."""
        layers, shared = len(self.layout.layers), self.keys.shared
        number = np.arange(layers)
        keep = number < shared if self.keys.side == "first" else number >= layers - shared
        return Support(self.layout, "layer", keep.astype(np.uint8))

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: shared layers both ways; the client keeps its own other layers."""
        if round < self.keys.warmup or self.keys.shared >= len(self.layout.layers):
            whole = Support.all(self.layout)
            return Plan(down=whole, up=whole)
        own = self.own(state, client)
        start = state["weights"] if own is None else own.weights
        return Plan(down=self._shared, up=self._shared, start=start)

    def remember(self, job: Job, report: Report, message: Parts, arrival: Arrival) -> Memory | None:
        """Return the personal layers."""
        if job.plan.up.whole:
            return None
        return {"own": report.weights[job.plan.up.mask() == 0]}
