"""FedPM: clients learn which weights of a random network to keep, and send a bit for each.

Isik, Pase, Gunduz, Weissman and Zorzi, "Sparse Random Networks for Communication-Efficient
Federated Learning", ICLR 2023, arXiv:2209.15328, written from its published code. Weights are
fixed at +c or -c, c = `spread` / sqrt(inputs), by the sign of the run's first weights; with
values = "drawn" they are the first weights. A client receives a probability theta for each weight,
trains the scores log(theta / (1 - theta)) under masks drawn for every step, then draws a mask and
sends it, one bit a weight. theta becomes the mode of a Beta posterior with a uniform prior, the
mean of all masks since the last reset (every `reset` rounds), with bits taken as `margin` and
1 - `margin`. Running statistics of normalisation are averaged, 32 bits each; all other values are
constant. The first scores are normally distributed.

Deviations: the gradient of a score is g w p (1 - p), as in the paper; the code has p twice. Masks
are weighted by the clients' shares ([clients] weighting = "uniform" is the paper), and rounds
between two resets equally. A model drawn in each round is evaluated, not a vote of several. A round
begins with a new optimiser, where the code's clients keep the moments of Adam.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from fedmpi.algorithm import Algorithm
from fedmpi.arrays import State, Vector
from fedmpi.errors import ConfigError
from fedmpi.exchange import Arrival, Coding, Job, Part, Report
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import Rate, Section
from fedmpi.setting import Setting
from fedmpi.totals import Pending, Sums, Total

MASKED = ("conv", "linear")  # kinds of layers whose weights and biases are masked


class FedPM(Algorithm, name="fedpm"):
    """Masks of a random network, a bit for each weight."""

    level = "coordinate"
    fill = "zero"
    base = None
    bits = prunes = True
    remedy = "lower optimizer.lr or algorithm.spread"

    class Keys(Section):
        """The [algorithm] keys of FedPM."""

        values: Literal["signed", "drawn"] = "signed"  # weights of one size, or the first weights
        spread: Rate = 2.718281828459045  # magnitude of the weights times sqrt(inputs)
        reset: int = Field(1, ge=1)  # number of rounds over which masks are averaged
        margin: float = Field(0.01, ge=1e-6, lt=0.5)  # least distance of theta from 0 and 1

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.masked = np.zeros(self.layout.size, np.uint8)
        for layer, numbers in zip(self.layout.layers, self.layout.layer_tensors, strict=True):
            tensors = [self.layout.tensors[number] for number in numbers]
            owners = [tensor.name.rpartition(".")[0] for tensor in tensors]
            for tensor, owner in zip(tensors, owners, strict=True):
                own = owner == owners[0]  # not of a joined normalisation
                self.masked[tensor.block] = tensor.trained and own and layer.kind in MASKED
        if not self.masked.any():
            raise ConfigError("model: has no weight that fedpm masks; take a method such as fedavg")
        sent = (self.masked != 0) | ~self.layout.trained
        self._sent = Support(self.layout, "coordinate", sent.astype(np.uint8))

    def start(self, weights: Vector) -> State:
        """Return the fixed weights, the first theta, and a model drawn by it."""
        size, fixed = self.layout.size, weights.copy()
        for tensors in self.layout.layer_tensors:
            first = self.layout.tensors[tensors[0]]
            most = np.float32(self.keys.spread / np.sqrt(first.size // first.rows))
            for tensor in (self.layout.tensors[t] for t in tensors):
                block = tensor.block
                if self.keys.values == "signed" and self.masked[block].all():
                    fixed[block] = np.where(weights[block] < 0, -most, most)
        scores = self.rng_for("fedpm", 0).standard_normal(size)
        theta = (1 / (1 + np.exp(-scores))).astype(np.float32)
        ones = np.zeros(size, np.float32)
        state: State = {"fixed": fixed, "theta": theta, "ones": ones, "rounds": np.zeros(1)}
        return self._drawn({**state, "weights": fixed}, 0)

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: theta down, bits up, and scores to train."""
        theta = state["theta"].astype(np.float64)
        scores = np.log(theta / (1 - theta)).astype(np.float32)
        start = np.where(self.masked, scores, np.where(self.layout.trained, state["fixed"],
                                                       state["weights"]))  # fmt: skip
        return Plan(
            down=self._sent,
            up=self._sent,
            known=True,
            start=start,
            update=self.masked,
            scores=state["fixed"],
        )

    def allow_sparse(self, why: str) -> None:
        """Raise ConfigError: a bit's presence is its value, so none may be left out."""
        raise ConfigError(f"{why}: leaves out coordinates, but clients of fedpm send a bit for "
                          "each coordinate; use it with a method whose clients send whole models, "
                          "such as fedavg")

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return a mask drawn from the client's scores, and the running statistics."""
        chance = 1 / (1 + np.exp(-report.weights, dtype=np.float64))
        drawn = self.rng_for("fedpm-bits", job.round, report.client).random(chance.size, np.float32)
        mask = ((drawn < chance) & (self.masked != 0)).astype(np.uint8)
        sent = Support(self.layout, "coordinate", mask)
        parts = {"weights": Part(mask.astype(np.float32), sent, coding=Coding("ones"))}
        if not self.layout.trained.all():
            running = Support(self.layout, "coordinate", (~self.layout.trained).astype(np.uint8))
            parts["statistics"] = Part(report.weights, running)
        return parts

    def zero(self) -> Sums:
        """Return the sums of masks, and of statistics."""
        found = {"weights": self.total()}
        if not self.layout.trained.all():
            found["statistics"] = Total(self.layout, "coordinate", "mean", self.setting.exact)
        return found

    def add(self, sums: Mapping[str, Pending], arrival: Arrival) -> None:
        """Add a client's mask and its statistics."""
        for name, (values, support, *_) in arrival.parts.items():
            sums[name].add(values, arrival.share, support)

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Set theta to the mean of the masks since the last reset."""
        if not sums["weights"].all:
            return state
        none, rounds = np.zeros_like(state["theta"]), np.ones(1)
        ones = np.minimum(sums["weights"].mean(none), 1)  # fast sums may give a little more
        if round % self.keys.reset:
            ones, rounds = ones + state["ones"], rounds + state["rounds"]
        margin = self.keys.margin
        theta = (margin + (1 - 2 * margin) * ones / rounds).astype(np.float32)
        new = {**state, "theta": theta, "ones": ones, "rounds": rounds}
        if "statistics" in sums:
            new["weights"] = sums["statistics"].mean(state["weights"])
        return self._drawn(new, round + 1)

    def _drawn(self, state: State, round: int) -> State:
        """Return the state with the model to evaluate after `round` rounds."""
        drawn = self.rng_for("fedpm-model", round).random(self.layout.size, np.float32)
        mask = np.where(self.masked, drawn < state["theta"], 1).astype(np.uint8)
        fixed = np.where(self.layout.trained, state["fixed"], state["weights"])
        return {**state, "weights": fixed * mask, "mask": mask}
