"""FedLP-Homo: every client trains the whole model and uploads a random subset of layers.

Zhu, Shi, Luo, Wang, Peng, Fan and Letaief, "FedLP: Layer-wise Pruning Mechanism for
Communication-Computation Efficient Federated Learning", ICC 2023, arXiv:2303.06360, the
scheme for homogeneous models: layer l of client k is kept with probability p, and a layer
of the global model becomes the mean over the clients that kept it; without any it is unchanged.
Deviations: the authors' code gives all clients the same weight, which is [clients] weighting =
"uniform" here, and draws for each tensor, which is granularity = "tensor".
"""

from typing import Literal

import numpy as np
from pydantic import Field

from fedmpi.algorithm import Algorithm
from fedmpi.arrays import State
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import Section
from fedmpi.setting import Setting


class FedLP(Algorithm, name="fedlp"):
    """Layer-wise pruning of uploads; p = 1 is FedAvg."""

    sends_as_planned = True

    class Keys(Section):
        """The [algorithm] keys of FedLP-Homo."""

        p: float = Field(0.5, ge=0, le=1)  # probability that a client keeps a layer
        granularity: Literal["layer", "tensor"] = "layer"  # the unit that is kept or left out

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.level = keys.granularity

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: the whole model down, and up the layers drawn for client and round."""
        units = self.layout.starts(self.level).size - 1
        kept = self.rng_for("fedlp", round, client).random(units) < self.keys.p
        up = Support(self.layout, self.level, kept.astype(np.uint8))
        return Plan(down=Support.all(self.layout), up=up)
