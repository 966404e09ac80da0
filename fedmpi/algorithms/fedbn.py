"""FedBN: federated averaging in which batch normalisation stays with each client.

Li, Jiang, Zhang, Kamp and Dou, "FedBN: Federated Learning on Non-IID Features via Local Batch
Normalization", ICLR 2021, arXiv:2102.07623: scale, shift and running statistics of every
batch normalisation are the client's own; all else is averaged. private = "statistics" keeps
the running statistics only (SiloBN: Andreux, du Terrail, Beguier and Tramel, 2020,
arXiv:2008.07424). Others send and average everything, running statistics too.
Ours: the global model, which the paper has none of, holds the first normalisation: scale 1,
shift 0, mean 0 and variance 1. What is private costs no bytes in either direction.
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


class FedBN(Personal, name="fedbn"):
    """Personal batch normalisation; without any in the model it is FedAvg."""

    level = "tensor"

    class Keys(Section):
        """The [algorithm] keys of FedBN."""

        private: Literal["all", "statistics"] = "all"  # what stays with the client

    @cached_property
    def _shared(self) -> Support:
        """The Support of what is everyone's."""
        tensors = self.layout.tensors
        norms = {t.name.rpartition(".")[0] for t in tensors if not t.trained}
        if self.keys.private == "all":
            keep = [t.name.rpartition(".")[0] not in norms for t in tensors]
        else:
            keep = [t.trained for t in tensors]
        whole = Support.all(self.layout)
        return whole if all(keep) else Support(self.layout, "tensor", np.array(keep, np.uint8))

    def plan(self, state: State, round: int, client: int) -> Plan:
        """What is shared down and up; the client goes on from its own normalisation."""
        own = self.own(state, client)
        return Plan(self._shared, self._shared, start=None if own is None else own.weights)

    def remember(self, job: Job, report: Report, message: Parts, arrival: Arrival) -> Memory | None:
        """The client's normalisation."""
        if self._shared.whole:
            return None
        return {"own": report.weights[self._shared.mask() == 0]}
