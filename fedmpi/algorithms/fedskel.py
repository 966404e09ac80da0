"""FedSkel: between whole rounds, a client trains and exchanges only its most important filters.

Luo, Yang, Ye, Guo and Zhao, "FedSkel: Efficient Federated Learning on Heterogeneous Systems
with Skeleton Gradients Update", CIKM 2021, arXiv:2108.09081, and its published layers. A SetSkel
round is dense and measures each filter's importance, the sum of its |raw outputs|; a client then
keeps the C - floor((1 - r) C) most important filters of each layer for `updates_per_set`
UpdateSkel rounds, in which all others are personal, with no part in backward pass, download and
upload. A filter of the global model becomes the mean over the clients who sent it.

Ours: the published code has no training loop, so schedule and server rule are read from the
paper's idea; a client's first round is a SetSkel round, and its rounds are counted per client or
globally (cycle); a dropped filter takes its normalisation with it, and neither weight decay nor
momentum moves it; the last layer is never cut. Of equal scores the later filters are dropped.
variant = "released" uploads whole models, stale filters included, whose plain mean is all that
the published server does. linear = "local", as in the published download, which replaces
convolutions only: in UpdateSkel rounds clients train their own linear layers whole, and neither
receive nor send them. (There, biases of convolutions stay too.)

Beware of large rates where labels are skewed. The score is of raw outputs, before ReLU, as
published, so a filter that is never positive is kept, and learns nothing. LeNet-5 on Fashion-MNIST,
two classes a client, r = 0.25: at a rate of 0.1 up to 7 of conv2's 16 filters are dead and one of
three seeds falls to chance for good; at 0.05 hardly one is, and none falls.
"""

from typing import Literal

import numpy as np
from pydantic import Field

from fedmpi import kernels
from fedmpi.algorithm import Algorithm, Keys
from fedmpi.config import Share
from fedmpi.layout import Support
from fedmpi.plan import Backward, Own, Plan
from fedmpi.sparsity import largest

STATISTICS = {"activation": ("activations",), "relevance": ("relevance",), "random": ()}


class FedSkel(Algorithm, name="fedskel"):
    """Skeleton gradients; ratio = 1 is FedAvg."""

    level = "row"
    remembers = personal = True

    class Keys(Keys):
        """The [algorithm] keys of FedSkel."""

        ratio: Share | Literal["speed"] = 0.25  # r, or each device's own
        least: float = Field(0.1, gt=0, le=1)  # lowest r of a device, with ratio = "speed"
        updates_per_set: int = Field(3, ge=0)  # UpdateSkel rounds after each SetSkel round
        cycle: Literal["client", "global"] = "client"
        score: Literal["activation", "relevance", "random"] = "activation"
        layers: Literal["conv", "conv+linear"] = "conv+linear"
        linear: Literal["shared", "local"] = "shared"
        variant: Literal["paper", "released"] = "paper"

    def plan(self, state, round, client):
        """The whole model in a SetSkel round, else the client's skeleton."""
        memory, whole = self.memory(client), Support.all(self.layout)
        if self._sets(memory, round):
            return Plan(down=whole, up=whole, statistics=STATISTICS[self.keys.score])
        rows, travels = self._split(memory["skeleton"]), self._travels(memory["skeleton"])
        if travels.whole:
            return Plan(down=whole, up=whole, backward=Backward(rows))
        start = self._joined(state, memory)
        up = travels if self.keys.variant == "paper" else whole
        return Plan(down=travels, up=up, start=start, backward=Backward(rows))

    def load(self, round, client):
        """A third of a step is the forward pass, which stays whole."""
        share = 1.0 if self._sets(self.memory(client), round) else self.ratio_of(client)
        return (1 + 2 * share) / 3

    def own(self, state, client):
        """The client's skeleton from the server, and its own other filters."""
        memory = self.memory(client)
        return Own(self._joined(state, memory)) if len(memory.get("personal", ())) else None

    def remember(self, job, report, message, arrival):
        """The skeleton, the values that do not travel, and the number of rounds so far."""
        memory = self.memory(report.client)
        count, sets = memory.get("rounds", 0) + 1, self._sets(memory, job.round)
        if not sets and self.keys.linear == "shared":
            return {**memory, "rounds": np.array(count)}  # nothing else has moved
        rows = np.concatenate(self._choose(report, count)) if sets else memory["skeleton"]
        skeleton, travels = rows.astype(np.uint8), self._travels(rows)
        personal = np.empty(self.layout.size - travels.size, np.float32)
        _move(kernels.moves.gather, report.weights, travels, personal)
        return {"skeleton": skeleton, "personal": personal, "rounds": np.array(count)}

    def _joined(self, state, memory):
        """float32[P]: the server's weights in what travels, the client's elsewhere."""
        weights = state["weights"].copy()
        _move(kernels.moves.put, memory["personal"], self._travels(memory["skeleton"]), weights)
        return weights

    def _travels(self, skeleton):
        """The Support of an UpdateSkel round's messages."""
        rows = list(self._split(skeleton))
        for number, layer in enumerate(self.layout.layers):
            if layer.kind == "linear" and self.keys.linear == "local":
                rows[number] = np.zeros(layer.rows, bool)
        return Support.of_rows(self.layout, rows)

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
        chosen, rng = [], self.rng_for("fedskel", count, report.client)
        for number, layer in enumerate(self.layout.layers):
            if not self._is_cut(number):
                chosen.append(np.ones(layer.rows, bool))
                continue
            found = [report.statistics[name][number] for name in STATISTICS[self.keys.score]]
            scores = np.abs(found[0]) if found else rng.random(layer.rows)
            # 1e-9: (1 - 0.9) * 10 is a little less than 1 in floating point.
            dropped = int((1.0 - self.ratio_of(report.client)) * layer.rows + 1e-9)
            chosen.append(largest(scores, layer.rows - dropped).astype(bool))
        return chosen

    def _is_cut(self, number):
        """True if a layer has a skeleton: an adapter, or of the right kind and not the last one."""
        kind, last = self.layout.layers[number].kind, len(self.layout.layers) - 1
        kinds = "conv" if self.keys.linear == "local" else self.keys.layers
        return kind == "adapter" or (kind in kinds.split("+") and number < last)

    def _split(self, skeleton):
        """For each layer bool[rows], or None where all rows are always kept."""
        kept, parts, first = skeleton.astype(bool), [], 0
        for number, layer in enumerate(self.layout.layers):
            rows = kept[first : first + layer.rows]
            parts.append(rows if self._is_cut(number) else None)
            first += layer.rows
        return tuple(parts)


def _move(kernel, values, travels, out):
    """Move the float32[.] `values` that do not travel to `out`: a kernel of `moves`."""
    stays = np.uint8(1) - travels.keep
    kernel(values.view(np.uint32), travels.starts, stays, out.view(np.uint32))
