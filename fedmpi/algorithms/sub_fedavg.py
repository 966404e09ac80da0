"""Sub-FedAvg: clients prune their trained models to a target size, without rewinding them.

Vahidian, Morafah and Lin, "Personalized Federated Learning by Structured and Unstructured Pruning
under Data Heterogeneity", ICDCS workshops 2021, arXiv:2105.00562, in its unstructured form. After
training a client drops the share `rate` of the weights left in each layer, those of least
magnitude, on three conditions, as in the published code: more than `target` of the weights are
left; the new mask differs, in the mean over the layers, by more than `distance` from the mask
that the same cut gives before training; and the pruned model classifies more than the share
`accuracy` of the client's samples correctly. Unlike in LotteryFL nothing is rewound. A weight
becomes the mean over the clients that hold it; the code gives all clients the same weight
([clients] weighting = "uniform").
Deviations: the code compares the masks after the first and the fifth epoch, so with fewer epochs
its second mask is the old mask; it counts biases among the weights left, and makes its last cut
smaller (at most 5 %) so that it ends at the target. Accuracy is measured on the client's training
samples, since it has no others here, and its cost is not counted.
"""

import numpy as np
from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithms.personal_mask import PersonalMask
from fedmpi.arrays import Flags, Memory, State
from fedmpi.exchange import Arrival, Job, Part, Parts, Report, required
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import Section


class SubFedAvg(PersonalMask, name="sub-fedavg"):
    """Personal masks that shrink; target = 1 is FedAvg."""

    sends_as_planned = False  # a client that prunes sends less

    class Keys(Section):
        """The [algorithm] keys of Sub-FedAvg."""

        rate: float = Field(0.1, gt=0, lt=1)  # share of the weights left that is dropped each time
        accuracy: float = Field(0.5, ge=0, le=1)  # accuracy above which a client prunes
        distance: float = Field(1e-4, ge=0, le=1)  # distance of masks above which a client prunes
        target: float = Field(0.5, ge=0, le=1)  # share of the weights at which pruning ends

    @classmethod
    def targets(cls, keys: Section) -> tuple[str, ...]:
        """Return the kinds of targets that have an accuracy."""
        return ("class", "tokens")

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan of the weights in the client's mask, both ways."""
        mask = self.mask_of(client)
        held = Support(self.layout, "coordinate", mask)
        start = sparsity.masked(state["weights"], mask)
        return Plan(down=held, up=held, start=start, mask=mask, update=mask)

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the weights that are left after pruning."""
        mask = self._after(job, report)
        return {"weights": Part(report.weights, Support(self.layout, "coordinate", mask))}

    def remember(self, job: Job, report: Report, message: Parts, arrival: Arrival) -> Memory | None:
        """Return the mask, a bit for each weight."""
        return {"mask": np.packbits(message["weights"].support.keep)}

    def _after(self, job: Job, report: Report) -> Flags:
        """Return uint8[P]: the client's mask after training, smaller if all conditions hold."""
        mask = required(job.plan.mask)
        if mask[self._inside].mean() <= self.keys.target:
            return mask
        before, after = (
            sparsity.smaller(self.layout, self.tensors, mask, weights, self.keys.rate)
            for weights in (required(job.plan.start), report.weights)
        )
        if self.distance_of(before, after) <= self.keys.distance:
            return mask
        good = self.accuracy(report.client, report.weights * after) > self.keys.accuracy
        return after if good else mask

    def distance_of(self, one: Flags, other: Flags) -> float:
        """Return the share of weights in which two masks uint8[P] differ, the mean over layers."""
        blocks = [self.layout.tensors[t].block for t in self.tensors]
        return float(np.mean([(one != other)[block].mean() for block in blocks]))
