"""FLASH: clients first find how dense each layer should be, then train under masks that agree.

Babakniya, Kundu, Prakash, Niu and Avestimehr, "Revisiting Sparsity Hunting in Federated Learning:
Why does Sparsity Consensus Matter?", TMLR 2023, arXiv:2208.13092, written from its published code.
In round 0, the warm-up, the clients of the cohort train `warmup` times as long as later, under one
random mask. After each part but the last they drop the smallest weights of every layer, a share
that falls from `rate` to 0, and grow as many at random, more in layers of larger mean magnitude.
They send masks, a bit a weight. The layers' mean densities, scaled, give a random mask of the first
weights. A warm-up from which no client reports is repeated.

masks = "fixed" (SPDST) keeps that mask. "learnt" (JMWST): every `every` rounds clients replace
the share rate / 2 in the middle of their round, and the server keeps the largest mean weights of
each layer, as many as the clients' masks hold on average. mean = "all" counts weights that a client
lacks as 0, "holders" leaves them out. shares below 1 (hetero-FLASH), drawn once for each client,
give clients that share of the weights of every layer, the largest ones.

Deviations: weights that were just dropped are not grown again; as many are grown as planned, where
the code draws the number; first weights are not drawn again after the warm-up; masks change at a
step, not after an epoch. Later the code replaces less, rate (1 - (n // 2 + 1) / n) with n steps (an
eighth less of 16, nothing of one or two), and changes the mask after each of several epochs; it
tests the mean before its mask is cut. Its shares below 1 go by a client's place in the cohort, and
then its server scales counts up to the wanted density. As in the code, a layer that should keep
more weights than it has stays whole, and the excess goes to no other layer.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithm import Algorithm
from fedmpi.arrays import AnyArray, Flags, State, Vector
from fedmpi.exchange import Arrival, Coding, Job, Part, Report
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import Section, Shares
from fedmpi.setting import Setting
from fedmpi.totals import Pending, Sums


class FLASH(Algorithm, name="flash"):
    """Sparse training with densities of layers by sensitivity."""

    level = "coordinate"
    summed = ("mask",)
    prunes = True

    class Keys(Section):
        """The [algorithm] keys of FLASH."""

        sparsity: float = Field(0.95, ge=0, lt=1)  # share of the weights that masks leave out
        masks: Literal["learnt", "fixed"] = "learnt"  # whether the mask changes
        warmup: int = Field(10, ge=1)  # length of the first round, in rounds
        rate: float = Field(0.25, ge=0, le=1)  # share of the weights that are replaced, at first
        every: int = Field(1, ge=1)  # rounds between masks
        mean: Literal["all", "holders"] = "all"  # clients over which a weight is averaged
        shares: Shares = (1.0,)  # drawn with equal chances

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.tensors = sparsity.prunable(self.layout)
        self.fill = "zero" if keys.mean == "all" else "mean"

    def start(self, weights: Vector) -> State:
        """Return the weights, unpruned until the warm-up is over."""
        mask = np.ones(self.layout.size, np.uint8)
        return {"weights": weights, "mask": mask, "warm": np.array(0)}

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: the sparse model both ways; in the warm-up only the mask goes up."""
        steps, keys = self.setting.steps(client), self.keys
        mask = self._held(state, client) if state["warm"] else self._first_mask()
        held = Support(self.layout, "coordinate", mask)
        moves: list[tuple[int, float]] = []
        more: dict[str, Any] = {}
        if not state["warm"]:
            parts = range(1, keys.warmup)
            moves = [(part * steps, keys.rate * (1 - part / keys.warmup)) for part in parts]
            more = {"up": Support.none(self.layout), "steps": keys.warmup * steps}
        elif self._adjusts(round):
            moves = [(steps // 2 + 1, keys.rate / 2)]
        if moves and steps:
            grow = self.rng_for("flash-grow", round, client).random(self.layout.size, np.float32)
            more |= {"readjust": tuple(moves), "grow": grow, "statistics": ("mask",)}
        return Plan(**{"down": held, "up": held, "start": state["weights"] * mask, "mask": mask,
                       "update": mask, "tensors": self.tensors, "reallocate": True, **more})

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the weights under the client's own mask, or only that mask in the warm-up."""
        mask = report.statistics.get("mask", job.plan.mask)
        own = Support(self.layout, "coordinate", mask)
        if job.state["warm"]:
            return {"weights": Part(report.weights, own)}
        bits = Part(mask.astype(np.float32), own, coding=Coding("ones"))
        return {"weights": Part(report.weights, job.plan.up), "mask": bits}

    def add(self, sums: Mapping[str, Pending], arrival: Arrival) -> None:
        """Add a client's weights and its mask."""
        super().add(sums, arrival)
        if "mask" not in arrival.parts:
            held = arrival.parts["weights"].support
            sums["mask"].add(held.mask().astype(np.float32), arrival.share, held)

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Average and renew the mask; after the warm-up mask the first weights instead."""
        held = sums["mask"].mean(np.zeros_like(state["weights"]))
        if state["warm"]:
            weights, mask = sums["weights"].mean(state["weights"]), state["mask"]
            if self._adjusts(round) and held.any():
                weights = np.where(held > 0, weights, np.float32(0))  # no old weights
                mask = sparsity.largest_of_each(self.layout, weights, self._counts(held))
        else:
            counts = self._counts(held if held.any() else self._first_mask())
            drawn = self.rng_for("flash", 1).permutation(self.layout.size).astype(np.float32)
            weights, mask = state["weights"], sparsity.largest_of_each(self.layout, drawn, counts)
        return {**state, "weights": weights * mask, "mask": mask, "warm": np.array(1)}

    def _adjusts(self, round: int) -> bool:
        return bool(self.keys.masks == "learnt" and round % self.keys.every == 0)

    def _counts(self, held: AnyArray) -> dict[int, int]:
        """Return how many weights each layer keeps, given the mean mask float32[P] `held`."""
        tensors = {t: self.layout.tensors[t] for t in self.tensors}
        means = {t: held[tensor.block].sum(dtype=np.float64) for t, tensor in tensors.items()}
        size = sum(tensor.size for tensor in tensors.values())
        total = sum(means.values())  # 0 if the sparsity leaves no layer a whole weight
        ratio = (1 - self.keys.sparsity) * size / total if total else 0.0
        return {t: min(int(n * ratio + 1e-6), tensors[t].size) for t, n in means.items()}

    def _held(self, state: State, client: int) -> Flags:
        """Return uint8[P]: the part of the mask that a client holds."""
        shares, mask = self.keys.shares, state["mask"]
        share = shares[int(self.rng_for("flash-share", 0, client).integers(len(shares)))]
        if share == 1:
            return mask
        counts = sparsity.counts_of(self.layout, self.tensors, mask)
        fewer = {t: round(share * count) for t, count in counts.items()}
        return sparsity.largest_of_each(self.layout, state["weights"] * mask, fewer)

    def _first_mask(self) -> Flags:
        """Return uint8[P]: the random mask of the warm-up, equally dense in all layers."""
        share = [1 - self.keys.sparsity] * len(self.tensors)
        return sparsity.random_mask(self.layout, self.tensors, share, self.rng_for("flash", 0))
