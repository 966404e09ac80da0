"""FedBN: federated averaging in which batch normalisation stays with each client.

Li, Jiang, Zhang, Kamp and Dou, "FedBN: Federated Learning on Non-IID Features via Local Batch
Normalization", ICLR 2021, arXiv:2102.07623: scale, shift and running statistics of every batch
normalisation stay with the client; all other values are averaged. private = "statistics" keeps only
the running statistics private (SiloBN: Andreux, du Terrail, Beguier and Tramel, 2020,
arXiv:2008.07424). Methods other than FedBN send and average running statistics too. Deviations: the
paper has no global model. Here there is one, and it holds the initial normalisation: scale 1, shift
0, mean 0 and variance 1. Private values cost no bytes in either direction. A batch normalisation is
known by its running statistics; if it keeps none (track_running_stats = False), its scale and shift
are averaged.
"""

from functools import cached_property
from typing import Literal

import numpy as np

from fedmpi.algorithms.personal import Personal
from fedmpi.arrays import Memory, State
from fedmpi.exchange import Arrival, Job, Parts, Report
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import Section

STATISTICS = ("running_mean", "running_var")  # torch's names in each of its normalisations


class FedBN(Personal, name="fedbn"):
    """Personal batch normalisation; for a model without batch normalisation it is FedAvg."""

    level = "tensor"

    class Keys(Section):
        """The [algorithm] keys of FedBN."""

        private: Literal["all", "statistics"] = "all"  # which values stay with the client

    @cached_property
    def _shared(self) -> Support:
        """The Support of the tensors that all clients share."""
        tensors = self.layout.tensors
        owners = [t.name.rpartition(".")[0] for t in tensors]
        # A module of the user's own may hold a buffer beside weights, which are not normalisation.
        norms = {o for o, t in zip(owners, tensors, strict=True) if t.name.endswith(STATISTICS)}
        everything = self.keys.private == "all"
        keep = [
            t.trained and not (everything and owner in norms)
            for owner, t in zip(owners, tensors, strict=True)
        ]
        whole = Support.all(self.layout)
        return whole if all(keep) else Support(self.layout, "tensor", np.array(keep, np.uint8))

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: shared tensors both ways; the client keeps its own normalisation."""
        own = self.own(state, client)
        return Plan(self._shared, self._shared, start=None if own is None else own.weights)

    def remember(self, job: Job, report: Report, message: Parts, arrival: Arrival) -> Memory | None:
        """Return the client's normalisation."""
        if self._shared.whole:
            return None
        return {"own": report.weights[self._shared.mask() == 0]}
