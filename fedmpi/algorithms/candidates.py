"""A first phase in which clients choose among pruned candidates of the first weights.

Candidate 0 keeps the share 1 - `sparsity` of the largest first weights of each layer. The other
candidates are as sparse overall, but the share of each layer differs by up to `noise` of it, and is
never above 1. In round c the cohort measures the running statistics of candidate c without any
training, and the server averages them. Then, in one round, clients receive all candidates and send
each one's accuracy on their samples; the FLOPs of this test are not counted. The server keeps the
best candidate. Networks without running statistics need only the last of these rounds. A run with
too few rounds for the choice is refused. A run that ends before any client has reported
accuracies keeps the first weights, unpruned.
"""

import numpy as np
from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithm import Algorithm
from fedmpi.arrays import Flags, State, Vector
from fedmpi.errors import ConfigError
from fedmpi.exchange import Job, Part, Report
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import Section
from fedmpi.setting import Setting
from fedmpi.totals import Sums


class Candidates(Algorithm):
    """The base of methods that begin with the choice; it acts while `chooses(state, round)`."""

    level = "coordinate"
    summed = ("measured",)
    prunes = True

    class Keys(Section):
        """The [algorithm] keys of a choice."""

        sparsity: float = Field(0.9, ge=0, lt=1)  # share of the weights that masks leave out
        candidates: int = Field(5, ge=1)  # number of candidates; with 1 there is no choice
        noise: float = Field(0.5, ge=0, lt=1)  # by how much the layers' densities differ

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.tensors = sparsity.prunable(self.layout)
        self._still = np.flatnonzero(~self.layout.trained)
        measured = keys.candidates if self._still.size else 0
        self.choice = measured if keys.candidates > 1 else -1  # the round of the choice
        if setting.rounds <= self.choice:
            raise ConfigError(
                f"algorithm.candidates = {keys.candidates}: the choice takes {self.choice + 1} "
                f"rounds, and run.rounds = {setting.rounds}, so the model would never be pruned; "
                "raise run.rounds, or set algorithm.candidates = 1"
            )

    def chooses(self, state: State, round: int) -> bool:
        """Return whether a round belongs to the choice, which lasts until a client reports."""
        return round < self.choice or not state["chosen"]

    def start(self, weights: Vector) -> State:
        """Return the first weights, the candidates' masks, and their statistics."""
        masks = np.stack([self._candidate(weights, c) for c in range(self.keys.candidates)])
        statistics = np.tile(weights[self._still], (self.keys.candidates, 1))
        mask = masks[0] if self.choice < 0 else np.ones(self.layout.size, np.uint8)
        chosen = np.array(int(self.choice < 0))
        state = {"weights": weights * mask, "mask": mask, "masks": masks, "chosen": chosen}
        return {**state, "statistics": statistics}

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: a candidate down and its statistics up, or all candidates down."""
        held = [Support(self.layout, "coordinate", mask) for mask in state["masks"]]
        if round >= self.choice:
            nothing = Support.none(self.layout)
            more = {f"candidate {c}": support for c, support in enumerate(held) if c}
            return Plan(held[0], nothing, more_down=more, steps=0)
        mask, none = state["masks"][round], np.zeros(self.layout.size, np.uint8)
        up = Support(self.layout, "coordinate", (~self.layout.trained).astype(np.uint8))
        return Plan(held[round], up, start=state["weights"] * mask, mask=mask, update=none)

    @classmethod
    def synchronous(cls, keys: Keys) -> bool:
        """Return whether there is a choice: statistics of two candidates must not be mixed."""
        return keys.candidates > 1

    @classmethod
    def targets(cls, keys: Keys) -> tuple[str, ...]:
        """Return the kinds of targets that have an accuracy, or all kinds if there is no choice."""
        return ("class", "tokens") if keys.candidates > 1 else super().targets(keys)

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the statistics, or the accuracies of the candidates in the first coordinates."""
        parts, count = super().message(job, report), self.keys.candidates
        if job.round < self.choice or job.state["chosen"]:
            return parts
        values, keep = np.zeros(self.layout.size, np.float32), np.zeros(self.layout.size, np.uint8)
        models = (self._model(job.state, c) for c in range(count))
        values[:count], keep[:count] = [self.accuracy(report.client, w) for w in models], 1
        return parts | {"measured": Part(values, Support(self.layout, "coordinate", keep))}

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Store a candidate's statistics, or choose the best candidate."""
        if round >= self.choice:
            measured = sums["measured"].mean(np.zeros_like(state["weights"]))
            best = int(measured[: self.keys.candidates].argmax())
            model, mask = self._model(state, best), state["masks"][best]
            return {**state, "weights": model, "mask": mask, "chosen": np.array(1)}
        statistics = state["statistics"].copy()
        statistics[round] = sums["weights"].mean(state["weights"])[self._still]
        return {**state, "statistics": statistics}

    def _model(self, state: State, c: int) -> Vector:
        """Return float32[P]: a candidate with its statistics."""
        model: Vector = state["weights"] * state["masks"][c]
        model[self._still] = state["statistics"][c]
        return model

    def _candidate(self, weights: Vector, c: int) -> Flags:
        """Return uint8[P]: the mask of a candidate."""
        rng = self.rng_for("candidates", 0, c)
        sizes = np.array([self.layout.tensors[t].size for t in self.tensors])
        wanted = 1 + self.keys.noise * (2 * rng.random(len(sizes)) - 1) * (c > 0)
        densities = sparsity.in_proportion(wanted, sizes, 1 - self.keys.sparsity)
        counts = np.rint(densities * sizes).astype(int)
        of_each = dict(zip(self.tensors, counts, strict=True))
        return sparsity.largest_of_each(self.layout, weights, of_each)
