"""FedSkel: between dense rounds a client trains and exchanges only its most important filters.

Luo, Yang, Ye, Guo and Zhao, "FedSkel: Efficient Federated Learning on Heterogeneous Systems
with Skeleton Gradients Update", CIKM 2021, arXiv:2108.09081, and its published layers. A SetSkel
round is dense and measures each filter's importance, the sum of its |raw outputs|. A client then
keeps the C - floor((1 - r) C) most important filters of each layer for `updates_per_set`
UpdateSkel rounds, in which the other filters stay with the client and take no part in backward
pass, download and upload. A filter of the global model becomes the mean over its senders.

Our choices: the published code has no training loop, so schedule and server rule follow the paper's
description. A client's first round is a SetSkel round; rounds are counted per client or globally
(cycle). A dropped filter's normalisation is dropped too, and neither weight decay nor momentum
moves it. The last layer is never cut. Of filters with equal scores the later ones are dropped. The
code's switch that spares dropped filters at random is left out. variant = "released" uploads whole
models, stale filters included; the published server takes their plain mean. linear = "local"
follows the published download, which replaces only convolutions: in UpdateSkel rounds clients train
their own linear layers, and neither receive nor send them. (Biases of convolutions stay there too.)

The policy "fit-deadline", which is ours, shortens a SetSkel round that would miss the deadline.

Beware of large learning rates with skewed labels: the score uses raw outputs, before ReLU, so a
filter that is never positive is kept. LeNet-5 on Fashion-MNIST, two classes a client, r = 0.25: at
0.1 up to 7 of conv2's 16 filters are dead and one of three seeds falls to chance; none at 0.05.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from fedmpi import kernels
from fedmpi.algorithm import Algorithm
from fedmpi.algorithms.shortened import shortened
from fedmpi.algorithms.skeletons import Skeletons
from fedmpi.arrays import AnyArray, Memory, State, Vector
from fedmpi.exchange import Arrival, Job, Parts, Report
from fedmpi.layout import Support
from fedmpi.plan import Backward, Own, Plan
from fedmpi.section import Section, Share
from fedmpi.setting import Setting
from fedmpi.sparsity import grid

Score = Literal["activation", "relevance", "random"]
STATISTICS = {"activation": ("activations",), "relevance": ("relevance",), "random": ()}


class FedSkel(Algorithm, name="fedskel"):
    """Skeleton gradients; ratio = 1 is FedAvg."""

    level = "row"
    remembers = personal = sends_as_planned = True
    knob = "ratio"

    class Keys(Section):
        """The [algorithm] keys of FedSkel."""

        ratio: Share | Literal["speed"] = 0.25  # r, or 'speed': each device's own
        least: float = Field(0.1, gt=0, le=1)  # lowest r of a device with ratio = 'speed'
        updates_per_set: int = Field(3, ge=0)  # UpdateSkel rounds after each SetSkel round
        cycle: Literal["client", "global"] = "client"  # whose rounds are counted
        score: Score = "activation"  # what makes a filter important
        layers: Literal["conv", "conv+linear"] = "conv+linear"  # which layers have skeletons
        linear: Literal["shared", "local"] = "shared"  # 'local': own in UpdateSkel rounds
        variant: Literal["paper", "released"] = "paper"  # 'released' sends whole models

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        kinds = "conv" if keys.linear == "local" else keys.layers
        self.skeletons = Skeletons(self.layout, kinds.split("+"))

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan of the whole model in a SetSkel round, else of the client's skeleton."""
        memory, whole = self.memory(client), Support.all(self.layout)
        if self._sets(memory, round):
            plan = Plan(down=whole, up=whole, statistics=STATISTICS[self.keys.score])
            return shortened(self.setting, client, plan)
        plan = self._skeleton_plan(memory["skeleton"])
        return plan if plan.down.whole else replace(plan, start=self._joined(state, memory))

    def load(self, round: int, client: int) -> float:
        """Return the share of a step's work; a third is the forward pass, which stays whole."""
        share = 1.0 if self._sets(self.memory(client), round) else self.ratio_of(client)
        return (1 + 2 * share) / 3

    def own(self, state: State, client: int) -> Own | None:
        """Return the client's skeleton from the server, and its own other filters."""
        memory = self.memory(client)
        return Own(self._joined(state, memory)) if len(memory.get("personal", ())) else None

    def remember(self, job: Job, report: Report, message: Parts, arrival: Arrival) -> Memory | None:
        """Return the skeleton, the values that do not travel, and the number of rounds so far."""
        memory = self.memory(report.client)
        count, sets = int(memory.get("rounds", 0)) + 1, self._sets(memory, job.round)
        if not sets and self.keys.linear == "shared":
            return {**memory, "rounds": np.array(count)}  # nothing else has changed
        rows = self._choose(report, count) if sets else memory["skeleton"]
        skeleton, travels = rows.astype(np.uint8), self._travels(rows)
        personal = np.empty(self.layout.size - travels.size, np.float32)
        _move(kernels.moves.gather, report.weights, travels, personal)
        return {"skeleton": skeleton, "personal": personal, "rounds": np.array(count)}

    def _skeleton_plan(self, skeleton: AnyArray) -> Plan:
        """Return the Plan of an UpdateSkel round, without the weights to start from."""
        travels = self._travels(skeleton)
        up = travels if self.keys.variant == "paper" else Support.all(self.layout)
        return Plan(down=travels, up=up, backward=Backward(self.skeletons.split(skeleton)))

    def _joined(self, state: State, memory: Memory) -> Vector:
        """Return float32[P]: the server's weights that travel, and the client's other weights."""
        weights = state["weights"].copy()
        _move(kernels.moves.put, memory["personal"], self._travels(memory["skeleton"]), weights)
        return weights

    def _travels(self, skeleton: AnyArray) -> Support:
        """Return the Support of an UpdateSkel round's messages; level "model" if it is whole."""
        rows = list(self.skeletons.split(skeleton))
        for number, layer in enumerate(self.layout.layers):
            if layer.kind == "linear" and self.keys.linear == "local":
                rows[number] = np.zeros(layer.rows, bool)
        travels = Support.of_rows(self.layout, rows)
        return Support.all(self.layout) if travels.whole else travels

    def ratio_of(self, client: int) -> float:
        """Return the share of filters that a client keeps: by the keys, or by [devices] policy."""
        keys, most = self.keys, 1.0 if self.keys.ratio == "speed" else float(self.keys.ratio)
        if self.by_policy:
            return self.setting.fit(grid(min(keys.least, most), most), client, self._typical)
        return max(keys.least, float(self.setting.speed[client])) if keys.ratio == "speed" else most

    def _typical(self, ratio: float) -> Plan:
        return self._skeleton_plan(self.skeletons.typical(ratio))

    def _sets(self, memory: Memory, round: int) -> bool:
        """Return whether this is a SetSkel round for a client."""
        turn = memory.get("rounds", 0) if self.keys.cycle == "client" else round
        return "skeleton" not in memory or turn % (self.keys.updates_per_set + 1) == 0

    def _choose(self, report: Report, count: int) -> AnyArray:
        """Return the skeleton bool[rows of all layers]: the rows with the highest scores."""
        found = [report.statistics[name] for name in STATISTICS[self.keys.score]]
        scores = found or [self.skeletons.random(self.rng_for("fedskel", count, report.client))]
        return self.skeletons.of_scores(scores[0], self.ratio_of(report.client))


def _move(kernel: Callable[..., None], values: Vector, travels: Support, out: Vector) -> None:
    """Fill `out` by a kernel of `moves`, gather or put, for the weights outside `travels`."""
    stays = np.uint8(1) - travels.keep
    kernel(values.view(np.uint32), travels.starts, stays, out.view(np.uint32))
