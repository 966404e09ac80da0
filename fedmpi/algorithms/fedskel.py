"""FedSkel: between whole rounds, a client trains and exchanges only its most important filters.

Luo, Yang, Wang, Liu, He, Ning and Zhang, "FedSkel: Efficient Federated Learning on
Heterogeneous Systems with Skeleton Gradients Update", CIKM 2021, arXiv:2108.09081, and the
layers in its published code. A SetSkel round is dense and measures each filter's importance,
the sum of its |raw outputs|; a client then keeps the C - floor((1 - r) C) filters of most
importance in each layer for `updates_per_set` UpdateSkel rounds, in which all others take no
part in backward pass, download and upload, and are personal. A filter of the global model
becomes the mean over the clients who sent it.

Ours: the published code has no training loop, so schedule and server rule are read from the
paper's idea; a client's first round is always a SetSkel round; its rounds are counted per
client (cycle = "client") or globally; a dropped filter takes its normalisation with it, and
neither weight decay nor momentum moves it; the last layer is never cut. Of equal scores the
later filters are dropped. variant = "released" uploads whole models, stale filters included,
whose plain mean is all that the published server does.
"""

from typing import Literal

import numpy as np
from pydantic import Field

from fedmpi.algorithms.base import Algorithm, Keys
from fedmpi.config import Share
from fedmpi.layout import Support
from fedmpi.plan import FULL, Backward, Plan
from fedmpi.sparsity import largest


class FedSkel(Algorithm, name="fedskel"):
    """Skeleton gradients; ratio = 1 is FedAvg."""

    level = "row"

    class Keys(Keys):
        """The [algorithm] keys of FedSkel."""

        ratio: Share | Literal["speed"] = 0.25  # r, or each device's own
        least: float = Field(0.1, gt=0, le=1)  # lowest r of a device, with ratio = "speed"
        updates_per_set: int = Field(3, ge=0)  # UpdateSkel rounds after each SetSkel round
        cycle: Literal["client", "global"] = "client"
        score: Literal["activation", "relevance", "random"] = "activation"
        layers: Literal["conv", "conv+linear"] = "conv+linear"
        variant: Literal["paper", "released"] = "paper"

    def plan(self, state, round, client):
        """The whole model in a SetSkel round, else the client's skeleton."""
        memory = self.memory(client)
        if self._sets(memory, round):
            whole = Support.all(self.layout)
            wanted = {"activation": ("activations",), "relevance": ("relevance",), "random": ()}
            return Plan(down=whole, up=whole, statistics=wanted[self.keys.score])
        rows = self._split(memory["skeleton"])
        if all(keep is None or keep.all() for keep in rows):
            whole = Support.all(self.layout)
            return Plan(down=whole, up=whole, backward=Backward(rows))
        skeleton = Support.of_rows(self.layout, rows)
        start = state["weights"].copy()
        start[skeleton.mask() == 0] = memory["personal"]
        up = skeleton if self.keys.variant == "paper" else Support.all(self.layout)
        return Plan(down=skeleton, up=up, start=start, backward=Backward(rows))

    def remember(self, state, plan, report, sent):
        """The skeleton, the values of all other filters, and the number of rounds so far."""
        memory = self.memory(report.client)
        count = memory.get("rounds", 0) + 1
        if plan.backward is not FULL:
            return memory | {"rounds": np.array(count)}
        skeleton = np.concatenate(self._choose(report, count)).astype(np.uint8)
        outside = Support.of_rows(self.layout, self._split(skeleton)).mask() == 0
        return {
            "skeleton": skeleton,
            "personal": report.weights[outside],
            "rounds": np.array(count),
        }

    def ratio_of(self, client):
        """Return the share of filters that a client keeps."""
        if self.keys.ratio == "speed":
            return max(self.keys.least, float(self.setting.speed[client]))
        return self.keys.ratio

    def _sets(self, memory, round):
        """True if this is a SetSkel round for a client."""
        turn = memory.get("rounds", 0) if self.keys.cycle == "client" else round
        return "skeleton" not in memory or turn % (self.keys.updates_per_set + 1) == 0

    def _choose(self, report, count):
        """Return bool[rows] for each layer: the rows of the highest scores."""
        chosen, ratio = [], self.ratio_of(report.client)
        rng = self.rng_for("fedskel", count, report.client)
        for number, layer in enumerate(self.layout.layers):
            if not self._is_cut(number):
                chosen.append(np.ones(layer.rows, bool))
                continue
            if self.keys.score == "random":
                scores = rng.random(layer.rows)
            elif self.keys.score == "relevance":
                scores = np.abs(report.statistics["relevance"][number])
            else:
                scores = report.statistics["activations"][number]
            # 1e-9: (1 - 0.9) * 10 is a little less than 1 in floating point.
            dropped = int((1.0 - ratio) * layer.rows + 1e-9)
            chosen.append(largest(scores, layer.rows - dropped).astype(bool))
        return chosen

    def _is_cut(self, number):
        """True if a layer has a skeleton: of the right kind, and not the last one."""
        kinds = self.keys.layers.split("+")
        return self.layout.layers[number].kind in kinds and number + 1 < len(self.layout.layers)

    def _split(self, skeleton):
        """For each layer bool[rows], or None where all rows are always kept."""
        ends = np.cumsum([layer.rows for layer in self.layout.layers])[:-1]
        rows = np.split(skeleton.astype(bool), ends)
        return tuple(keep if self._is_cut(n) else None for n, keep in enumerate(rows))
