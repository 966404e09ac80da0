"""PruneFL: the mask adapts so that a round learns the most per second.

Jiang, Wang, Valls, Ko, Lee, Leung and Tassiulas, "Model Pruning Enables Efficient Federated
Learning on Edge Devices", IEEE TNNLS 2022, arXiv:1909.12326, algorithm 2. Every `every`
rounds clients send the squared gradients z of all weights, summed over their steps. The server
frees the smallest free * 0.5^(round / halving) of the weights in use, then takes weights in
the order of z_j / t_j while this is more than sum z / T over the model so far, biases and
normalisation included; t_j is the time that a weight adds to a round, T the round's time. Grown
weights start at 0. Deviation: no first stage on one client, so the first mask is whole.

variant = "authors", as in their code: that share of each layer is freed, and z is the square of a
client's gradient summed over a round, added up over its rounds since the last new mask. Clients
keep z, and compute the gradient of all weights in every step. (With PyTorch before 2.0 the code
takes the last step's gradient for the sum, a bug.) The authors measured times by layer: 6.25 s a
round and 1e-6 to 3.5e-5 s a weight for their Conv2, 86.8 s a round for VGG-11; give such times in
`seconds`. variant = "released" is not theirs but the re-implementation that FedDIP was compared
with, and not a fair baseline: it ranks by z alone, and leaves biases out of the sum.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithm import Algorithm
from fedmpi.arrays import Flags, Memory, Reals, State, Vector
from fedmpi.errors import ConfigError
from fedmpi.exchange import Arrival, Job, Part, Parts, Report
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import NotNegative, Rate, Section
from fedmpi.setting import Setting
from fedmpi.totals import Pending, Sums, Total


class PruneFL(Algorithm, name="prunefl"):
    """Adaptive pruning by time; while the mask is whole it is FedAvg."""

    level = "coordinate"
    fill = "zero"
    prunes = True

    class Keys(Section):
        """The [algorithm] keys of PruneFL."""

        every: int = Field(50, ge=1)  # rounds between masks
        free: float = Field(0.3, ge=0, le=1)  # share of the weights that are freed, at first
        halving: float = Field(10000.0, gt=0)  # rounds after which that share is halved
        constant: Rate = 1.0  # seconds of a round without any weight
        exchange: Rate = 5.56e-6  # seconds to exchange a weight
        compute: NotNegative = 1e-9  # seconds for one multiply-add of a weight
        seconds: tuple[Rate, ...] = ()  # seconds of a weight, by layer; default: from the two above
        variant: Literal["paper", "authors", "released"] = "paper"  # how weights are ranked

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.tensors = sparsity.prunable(self.layout)
        self.inside = sparsity.coordinates(self.layout, self.tensors)
        self.remembers = keys.variant == "authors"
        if len(keys.seconds) not in (0, len(self.layout.layers)):
            raise ConfigError(
                f"algorithm.seconds: {len(keys.seconds)} numbers; the model has "
                f"{len(self.layout.layers)} layers, give one for each, or none"
            )

    def start(self, weights: Vector) -> State:
        """Return the first weights, and a mask that keeps all of them."""
        return {"weights": weights, "mask": np.ones(self.layout.size, np.uint8)}

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: the masked model both ways; before a new mask, squared gradients up."""
        held, mask = Support(self.layout, "coordinate", state["mask"]), state["mask"]
        wanted = ("summed",) if self.remembers else ("squares",) * self._adapts(round)
        return Plan(down=held, up=held, mask=mask, update=mask, statistics=wanted)

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the weights, and before a new mask the squared gradients."""
        parts = super().message(job, report)
        if self._adapts(job.round):
            squares = self._kept(job, report) if self.remembers else report.statistics["squares"]
            parts["squares"] = Part(squares, Support.all(self.layout))
        return parts

    def remember(self, job: Job, report: Report, message: Parts, arrival: Arrival) -> Memory | None:
        """Return the squared gradients that the client summed since the last new mask."""
        if not self.remembers:
            return None
        return {"squares": self._kept(job, report), "round": np.array(job.round)}

    def _kept(self, job: Job, report: Report) -> Vector:
        """Return float32[P]: the client's squares summed over its rounds since the last mask."""
        memory, summed = self.memory(report.client), report.statistics["summed"]
        new: Vector = summed**2
        last = (job.round - 1) // self.keys.every * self.keys.every or -1  # round 0 makes no mask
        return new + memory["squares"] if memory and memory["round"] > last else new

    def zero(self) -> Sums:
        """Return the sums of weights and of squared gradients."""
        return {**super().zero(), "squares": Total(self.layout, exact=self.setting.exact)}

    def add(self, sums: Mapping[str, Pending], arrival: Arrival) -> None:
        """Add weights and squared gradients; a weight outside the mask counts as 0."""
        super().add(sums, arrival)
        if "squares" in arrival.parts:
            sums["squares"].add(arrival.parts["squares"].values, arrival.share)

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Average, and every `every` rounds adapt the mask."""
        after = super().step(state, sums, round)
        after["weights"] *= state["mask"]  # late clients have older masks
        if not self._adapts(round) or not sums["squares"].covered:
            return after
        squares = sums["squares"].mean(np.zeros_like(state["weights"]))
        mask = self.adapted(after["weights"], state["mask"], squares, round)
        return {**after, "weights": after["weights"] * mask, "mask": mask}

    def adapted(self, weights: Vector, mask: Flags, squares: Vector, round: int) -> Flags:
        """Return the next mask uint8[P]."""
        keys, share = self.keys, self.keys.free * 0.5 ** (round / self.keys.halving)
        used, new = np.flatnonzero(self.inside & (mask != 0)), mask.copy()
        if keys.variant == "authors":
            new = sparsity.smaller(self.layout, self.tensors, mask, weights, share)
        else:
            new[used] = sparsity.largest(weights[used], len(used) - int(len(used) * share))
        kept, others = (np.flatnonzero(self.inside & (new == flag)) for flag in (1, 0))
        gain = squares.astype(np.float64) / (seconds := self._seconds())
        rank, held = (squares, kept) if keys.variant == "released" else (gain, new == 1)
        others = others[np.argsort(-rank[others], kind="stable")]
        # The gain and the seconds of the round before the j-th of the others is added.
        sums = np.cumsum(np.concatenate(([squares[held].sum(dtype=np.float64)], squares[others])))
        times = keys.constant + seconds[kept].sum() + np.cumsum(seconds[others])
        worth = gain[others] * (times - seconds[others]) > sums[:-1]
        new[others[: len(others) if worth.all() else int(np.argmin(worth))]] = 1
        return new

    def _seconds(self) -> Reals:
        """Return float64[P]: the seconds that each weight adds to a round."""
        keys, layers = self.keys, zip(self.layout.layers, self.layout.layer_tensors, strict=True)
        macs = [layer.macs / self.layout.tensors[tensors[0]].size for layer, tensors in layers]
        seconds = keys.seconds or [keys.exchange + keys.compute * number for number in macs]
        return np.repeat(seconds, np.diff(self.layout.starts("layer")))

    def _adapts(self, round: int) -> bool:
        return round > 0 and round % self.keys.every == 0
