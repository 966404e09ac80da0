"""The fixed parts of a run: everything that all rounds need and no round changes."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fedmpi import flops, planned, returned
from fedmpi.algorithms import Algorithm
from fedmpi.arrays import Bools, Integers, Reals, State, Vector
from fedmpi.config import Config
from fedmpi.errors import DataError
from fedmpi.exchange import Job, Report
from fedmpi.layout import Layout
from fedmpi.learn.data import Dataset
from fedmpi.learn.engine import Engine
from fedmpi.learn.evaluate import Score
from fedmpi.learn.partitions import Drawn, Partition, held_out
from fedmpi.learn.partitions.label_mix import BLOCK, LabelMix, label_mix, tested_mix
from fedmpi.learn.partitions.partition import from_owner
from fedmpi.learn.sample_arrays import Samples
from fedmpi.metric import Metric
from fedmpi.plan import Plan
from fedmpi.rng import rng_for
from fedmpi.round.costs import Costs
from fedmpi.round.memories import ClientStore
from fedmpi.round.predicted_bytes import bytes_up
from fedmpi.round.server_optimizer import ServerOptimizer
from fedmpi.round.visit import Server
from fedmpi.selectors import Selector
from fedmpi.stages import Stage
from fedmpi.world.devices import Devices
from fedmpi.world.schedule import Schedule


@dataclass(frozen=True, eq=False)
class Experiment:
    """The fixed parts of a run; of these, only `selector` and `memories` have changing contents.

    Attributes
    ----------
    test : Samples
        The test samples, in the form in which an engine takes them.
    costs : Costs
        Predicts bytes, FLOPs, seconds and memory of a client's Plan.
    selector : Selector
        Learns from the rows of each round, so a checkpoint stores its arrays.
    server_optimizer : ServerOptimizer
        Turns the state that the algorithm proposes into the next state.
    weights : float32[P]
        The initial global weights.
    memories : ClientStore
        The memories of this rank's clients.
    metrics : tuple of (str, Metric)
        Metrics besides loss and accuracy, with their columns in the result file.
    """

    config: Config
    dataset: Dataset
    test: Samples
    devices: Devices
    schedule: Schedule
    engine: Engine
    algorithm: Algorithm
    stages: tuple[Stage, ...]
    costs: Costs
    selector: Selector
    server_optimizer: ServerOptimizer
    weights: Vector
    memories: ClientStore
    metrics: tuple[tuple[str, Metric], ...]

    @property
    def layout(self) -> Layout:
        """The layout of the model."""
        return self.engine.layout

    @property
    def partition(self) -> Partition | Drawn:
        """The training samples that each client holds, or the number that it draws."""
        return self.engine.data.partition

    @property
    def sizes(self) -> Integers:
        """int[K]: the number of samples of each client."""
        sizes: Integers = self.partition.sizes
        return sizes

    @cached_property
    def holders(self) -> Integers | range:
        """Ids of the clients that have samples, ascending; a range if all clients have some."""
        able = np.flatnonzero(self.sizes)
        return range(len(self.sizes)) if len(able) == len(self.sizes) else able

    def work(self, clients: Integers) -> Reals:
        """Return the predicted work of clients int64[n] in samples, float64[n]."""
        sizes = self.sizes[clients].astype(np.int64)
        return self.engine.data.local.samples_of(sizes).astype(np.float64)

    @cached_property
    def label_mix(self) -> LabelMix:
        """The mix of labels in each client's samples (its test samples if clients draw theirs)."""
        data = self.dataset
        if isinstance(self.partition, Drawn):
            return tested_mix(data.groups_test, data.y_test, data.classes)
        return label_mix(self.partition, data.y_train, data.classes, self._tested)

    @cached_property
    def _tested(self) -> Bools:
        """bool[C]: the classes of which there are test samples; all if the targets are numbers."""
        samples, found = self.test, np.zeros(self.dataset.classes, bool)
        for first in range(0, len(samples), BLOCK):
            y = samples.targets(np.arange(first, min(first + BLOCK, len(samples))))
            found[np.unique(y) if y.dtype.kind == "i" else slice(None)] = True
        return found

    @cached_property
    def _flops_of_a_sample(self) -> float:
        """FLOPs of training the whole model on one sample."""
        return float(flops.count(self.layout).sum())

    def flops(self, plan: Plan, report: Report) -> float:
        """Return the floating-point operations that a client's Report took."""
        parts = (plan.submodel, plan.mask, plan.gates, plan.update)
        if plan.backward.whole and not report.probed and all(part is None for part in parts):
            return report.seen * self._flops_of_a_sample
        return self.costs.flops(plan, report.client, report.seen, report.probed)

    def server(self) -> Server:
        """Return the Server of a round's visits, with Messages of its own."""
        messages = self.costs.messages()
        return Server(self.algorithm, self.stages, messages, self.memories.__getitem__)

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return the method's Plan for a client, with the steps that [devices] policy allows.

        Mask readjustments planned after a fraction of all steps come after the same fraction of
        the fewer steps. Raises ConfigError if the client's device lacks memory for the training.
        """
        plan, section = self.algorithm.plan(state, round, client), self.config.devices
        planned.check(plan, self.layout, self.algorithm, self.dataset.classes)
        if section.policy != "fixed" and section.knob == "steps" and plan.steps is None:
            steps = range(1, self.costs.steps(client) + 1)
            if len(steps):
                up = self._more_up(state, round, client, plan)
                fit = self.costs.fit(steps, client, lambda n: replace(plan, steps=int(n)), up)
                moves = {1 + (at - 1) * int(fit) // len(steps): part for at, part in plan.readjust}
                plan = replace(plan, steps=int(fit), readjust=tuple(moves.items()))
        self.costs.check_memory(plan, client)
        return plan

    def check_memory(self, state: State) -> None:
        """Raise ConfigError if a kind of device lacks the memory for a plan of round 0.

        Otherwise a run would end in the round in which the first of its clients is selected.
        """
        if not self.devices.has_limits:
            return
        for tier in np.unique(self.devices.tier):
            clients = np.flatnonzero((self.devices.tier == tier) & (self.sizes > 0))
            if clients.size:
                least = self.devices.memory_mb[clients].argmin()
                self.plan(state, 0, int(clients[least]))

    def _more_up(self, state: State, round: int, client: int, plan: Plan) -> int | None:
        """Return the bytes that a client sends if they do not follow from its Plan, else None."""
        algorithm, config = self.algorithm, self.config
        if config.devices.policy != "fit-deadline" or algorithm.sends_as_planned:
            return None
        job = Job(client, round, state, plan, 0.0)
        return bytes_up(self.server(), config.run.seed, job)

    def metrics_of(self, score: Score | None) -> dict[str, float]:
        """Return the metrics of a Score by column; all NaN if there was no evaluation."""
        if score is None:
            return {column: math.nan for column, _ in self.metrics}
        return dict(score.metrics)

    def flops_inference(self, state: State) -> float:
        """Return the floating-point operations of inference on one sample, global model."""
        gates, kept = self.algorithm.setting.gates, self.algorithm.kept(state)
        returned.kept(kept, self.layout, self.algorithm)
        return float(flops.inference(self.layout, kept, gates and gates()))

    @cached_property
    def test_split(self) -> Partition:
        """The Partition of the test samples over the clients, by each client's labels."""
        data, classes = self.dataset, self.dataset.classes
        if isinstance(self.partition, Drawn):
            if data.groups_test is None:
                raise DataError(
                    f"{data.name}: its clients draw their samples, so the clients of the test "
                    "samples are unknown; give group_test to Dataset.drawn"
                )
            return from_owner(data.groups_test, len(self.sizes))
        rng = rng_for(self.config.run.seed, "test-split")
        test = (data.y_test, data.groups_test)
        return held_out(self.partition, data.y_train, test, classes, rng)
