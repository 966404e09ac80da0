"""FedLP-Hetero: each client trains the first layers of the model, as many as it can afford.

Zhu, Shi, Luo, Wang, Peng, Fan and Letaief, "FedLP: Layer-wise Pruning Mechanism for
Communication-Computation Efficient Federated Learning", ICC 2023, arXiv:2303.06360, the
scheme for heterogeneous models, with the CNN of its published code. A client's level, 1 to 5,
is drawn once: `prefer` with probability `chance` and the other four with equal chances, or all five
with equal chances (prefer = "uniform"). With [devices] policy it is the policy's choice, up to
`prefer`.
Level 5 is the whole model; levels 1 to 4 keep the first level + 1 convolutions and end in a
head that never leaves the client. A layer becomes the mean over the clients that trained it.
Deviations: the code gives all clients the same weight, which is [clients] weighting = "uniform"
here; private heads start from the same values on all clients of a level.
"""

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from fedmpi.algorithm import Algorithm
from fedmpi.arrays import Memory, State
from fedmpi.errors import ConfigError
from fedmpi.exchange import Arrival, Job, Parts, Report
from fedmpi.layout import Support
from fedmpi.plan import Own, Plan, Submodel
from fedmpi.section import Section
from fedmpi.setting import Setting

LEVELS = 5
NAMES = (*(f"conv{number}" for number in range(1, 7)), "fc1", "fc2")  # of the model fedlp-cnn


class FedLPHetero(Algorithm, name="fedlp-hetero"):
    """Models of five depths; all at level 5 is FedAvg."""

    level = "layer"
    remembers = personal = sends_as_planned = True
    knob = "prefer"

    class Keys(Section):
        """The [algorithm] keys of FedLP-Hetero."""

        prefer: Literal[1, 2, 3, 4, 5, "uniform"] = 5  # the level that clients prefer
        chance: float = Field(0.6, ge=0, le=1)  # probability that a client has the preferred level

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        if tuple(layer.name for layer in self.layout.layers) != NAMES:
            raise ConfigError("algorithm fedlp-hetero: needs model.name = 'fedlp-cnn', the only "
                              "model with its levels")

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: the first layers both ways; the private head stays with the client."""
        plan = self._plan_of_level(self.level_of(client))
        return plan if plan.submodel is None else replace(
            plan, private=self.memory(client).get("head")
        )

    def own(self, state: State, client: int) -> Own | None:
        """Return the first layers of the global model under the client's own head."""
        level = self.level_of(client)
        if level == LEVELS:
            return None
        return Own(state["weights"], self._first(level)[1], self.memory(client).get("head"))

    def remember(self, job: Job, report: Report, message: Parts, arrival: Arrival) -> Memory | None:
        """Return the private head."""
        return None if report.private is None else {"head": report.private}

    def _plan_of_level(self, level: float) -> Plan:
        if level == LEVELS:
            whole = Support.all(self.layout)
            return Plan(down=whole, up=whole)
        shared, part = self._first(int(level))
        return Plan(down=shared, up=shared, submodel=part)

    def _first(self, level: int) -> tuple[Support, Submodel]:
        """Return the Support of the layers that a level shares, and its Submodel."""
        keep = np.arange(len(self.layout.layers)) <= level
        shared = Support(self.layout, "layer", keep.astype(np.uint8))
        return shared, Submodel(options=(("level", level),), shared=shared.size)

    def level_of(self, client: int) -> int:
        """Return a client's level, 1 to 5, drawn once, or by [devices] policy."""
        if self.by_policy:
            most = LEVELS if self.keys.prefer == "uniform" else self.keys.prefer
            return int(self.setting.fit(range(1, most + 1), client, self._plan_of_level))
        keys, draw = self.keys, self.rng_for("fedlp-level", 0, client)
        if keys.prefer == "uniform":
            return int(draw.integers(1, LEVELS + 1))
        chances = np.full(LEVELS, (1.0 - keys.chance) / (LEVELS - 1))
        chances[keys.prefer - 1] = keys.chance
        return int(draw.choice(LEVELS, p=chances)) + 1
