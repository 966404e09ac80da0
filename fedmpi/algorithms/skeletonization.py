"""Skeletonization: train, remove the least relevant unit, and repeat while training succeeds.

Mozer and Smolensky, "Skeletonization: A Technique for Trimming the Fat from a Network via
Relevance Assessment", NIPS 1988, sections 2 and 3. A gate of value 1 on every unit's output has
the derivative -rho = sum of w dE/dw over the weights that read the unit. rho estimates how much the
error E rises without the unit. For rho the error is linear, sum |t - o|, because the derivative of
the quadratic error vanishes as the network fits. rho <- 0.8 rho + 0.2 rho_new at every removal.

Deviations: with one client this is the paper's central training; with several, it is federated
averaging, and rho is averaged like weights. The error is the mean over a round's steps, each before
its move. The unit of least |rho| is removed, also if it is 0 (SNNS skips it); rank = "signed" takes
the least rho. A layer keeps its last unit. Clients train, send and pay for the smaller network;
globally the weights of removed units are 0. Input units are removed only if inputs = true. The
method works on chains of linear layers and convolutions, where a unit is a channel. If `retrain`
rounds do not bring the error back to `criterion`, the last network that met it is restored.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from fedmpi.algorithm import Algorithm
from fedmpi.arrays import Bools, Flags, State, Vector
from fedmpi.exchange import Arrival, Job, Part, Report
from fedmpi.layout import ONE, Support
from fedmpi.plan import Plan, Submodel
from fedmpi.section import Section
from fedmpi.setting import Setting
from fedmpi.totals import Pending, Sums, Total
from fedmpi.units import Units, weighted


class Skeletonization(Algorithm, name="skeletonization"):
    """Trimming by relevance, centrally or federated."""

    level = "coordinate"
    fill = "zero"  # units that are removed
    prunes = sends_as_planned = True
    narrows = "apart"

    class Keys(Section):
        """The [algorithm] keys of Skeletonization."""

        criterion: float = Field(0.1, gt=0)  # mean training error at which a unit may be removed
        train: int = Field(1000, ge=1)  # most rounds before the first removal
        retrain: int = Field(100, ge=1)  # most rounds after each removal
        units: int = Field(1, ge=1)  # number of hidden units that always stay
        inputs: bool = False  # allow the removal of input units
        error: Literal["cross-entropy", "quadratic"] = "cross-entropy"  # the training error
        relevance: Literal["linear", "quadratic"] = "linear"  # the error that defines relevance
        outputs: Literal["softmax", "sigmoid"] = "softmax"  # function after the last layer
        rank: Literal["absolute", "signed"] = "absolute"  # relevance by magnitude or sign
        smoothing: float = Field(0.8, ge=0, lt=1)  # weight of earlier relevance

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.units = Units(weighted(self.layout))

    def start(self, weights: Vector) -> State:
        """Return the weights, all units, and no relevance yet."""
        units, zero = np.ones(len(self.units.place), np.uint8), np.array(0)
        good: State = {"good": weights, "good_units": units, "relevance": np.zeros(len(units))}
        # phase: 0 training, 1 measuring, 2 trimming is over
        return {**good, "weights": weights, "units": units, "waited": zero, "phase": zero}

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan that trains or measures the network that is left."""
        keys, (rows, mask) = self.keys, self.units.network(state["units"])
        held = Support(self.layout, "coordinate", mask)
        part = None if all(map(np.all, rows)) else Submodel.of_rows(rows)
        cut = None if state["units"][: self.units.inputs].all() else mask
        how: dict[str, Any] = {"known": True, "submodel": part, "mask": cut, "update": cut}
        if state["phase"] == 1:
            keep = np.zeros(self.layout.size, np.uint8)
            keep[self.units.place[self.units.of_rows(rows)]] = 1
            up, error = Support(self.layout, "coordinate", keep), f"{keys.outputs}-{keys.relevance}"
            return Plan(held, up, steps=0, statistics=("columns",), error=error, **how)
        plain = keys.error == "cross-entropy"
        error = keys.error if plain else f"{keys.outputs}-{keys.error}"
        return Plan(held, held, error=error, **how)

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the weights, or each unit's mean relevance over the client's samples."""
        if not job.plan.statistics:
            return super().message(job, report)
        rows, _ = self.units.network(job.state["units"])
        sizes = [self.units.inputs, *map(np.sum, rows[:-1])]
        columns, count = report.statistics["columns"], max(report.samples, 1)
        rho = [c.reshape(n, -1).sum(axis=1) for c, n in zip(columns, sizes, strict=True)]
        values = np.zeros(self.layout.size, np.float32)
        values[self.units.place[self.units.of_rows(rows)]] = np.concatenate(rho) / count
        nothing = Support.none(self.layout)
        return {"weights": Part(report.weights, nothing), "relevance": Part(values, job.plan.up)}

    def zero(self) -> Sums:
        """Return the sums of weights, relevance and training error."""
        error = Total(ONE, exact=self.setting.exact)
        return {"weights": self.total(), "relevance": self.total(), "error": error}

    def add(self, sums: Mapping[str, Pending], arrival: Arrival) -> None:
        """Add a client's weights and error, or its relevance."""
        if measured := arrival.parts.get("relevance"):
            sums["relevance"].add(measured.values, arrival.share, measured.support)
        else:
            super().add(sums, arrival)
            sums["error"].add(np.array([arrival.loss], np.float32), arrival.share)

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Average, and decide whether to measure, to trim, or to end."""
        if state["phase"] == 1:  # the next round repeats it if no client has reported
            return self._trim(state, sums["relevance"]) if sums["relevance"].covered else state
        after = super().step(state, sums, round)
        after["weights"] *= self.kept(state)  # late clients have units that are gone
        if state["phase"] == 2 or not sums["error"].covered:
            return after
        error, waited = sums["error"].mean(np.ones(1, np.float32))[0], np.array(state["waited"] + 1)
        if error <= self.keys.criterion:
            good = {"good": after["weights"], "good_units": state["units"]}
            more = self._free(state["units"]).any()
            return {**after, **good, "waited": waited, "phase": np.array(1 if more else 2)}
        first = state["units"].all()
        if waited < (self.keys.train if first else self.keys.retrain):
            return {**after, "waited": waited}
        if not first:
            after = {**after, "weights": state["good"], "units": state["good_units"]}
        return {**after, "waited": waited, "phase": np.array(2)}

    def kept(self, state: State) -> Flags | None:
        """Return uint8[P]: 1 for the weights of the units that are left."""
        return self.units.network(state["units"])[1]

    def _free(self, units: Flags) -> Bools:
        """Return bool[U]: the units that may be removed."""
        left = np.bincount(self.units.layer, units)[self.units.layer]
        more = units[self.units.inputs :].sum() > self.keys.units
        may = np.where(self.units.layer > 0, more, self.keys.inputs)
        return np.asarray((units == 1) & (left > 1) & may)

    def _trim(self, state: State, measured: Total) -> State:
        """Smooth the relevance, remove the least relevant unit, and return to training."""
        units, share = state["units"].copy(), self.keys.smoothing
        new = measured.mean(np.zeros(self.layout.size, np.float32))[self.units.place]
        relevance = np.where(units, share * state["relevance"] + (1 - share) * new, 0.0)
        score = np.abs(relevance) if self.keys.rank == "absolute" else relevance
        free = np.flatnonzero(self._free(units))
        units[free[score[free].argmin()]] = 0
        state = {**state, "relevance": relevance, "units": units, "waited": np.array(0)}
        return {**state, "weights": state["weights"] * self.kept(state), "phase": np.array(0)}
