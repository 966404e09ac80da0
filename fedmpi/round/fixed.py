"""The fixed parts of a run: everything that its rounds need and none of them changes."""

from dataclasses import dataclass
from functools import cached_property

from fedmpi import flops
from fedmpi.algorithms import Algorithm
from fedmpi.arrays import Integers, Reals, State, Vector
from fedmpi.config import Config
from fedmpi.exchange import Report
from fedmpi.layout import Layout
from fedmpi.learn.data import Dataset
from fedmpi.learn.engine import Engine
from fedmpi.learn.partitions import Partition, held_out
from fedmpi.learn.samples import Samples
from fedmpi.metric import Metric
from fedmpi.plan import Plan
from fedmpi.rng import rng_for
from fedmpi.round.memories import ClientStore
from fedmpi.round.messages import Messages
from fedmpi.round.server_optimizer import ServerOptimizer
from fedmpi.selectors import Selector
from fedmpi.stages import Stage
from fedmpi.world.devices import Devices
from fedmpi.world.memory import check_memory, limited, needed_mb
from fedmpi.world.schedule import Schedule


@dataclass(frozen=True, eq=False)
class Experiment:
    """The fixed parts of a run.

    Attributes
    ----------
    counts : int64[K, classes]
        Samples of each client and class.
    work : float64[K]
        The predicted work of a client, in samples.
    weights : float32[P]
        The first global weights.
    memories : ClientStore
        What the clients of this rank keep between rounds: it changes, but is made once.
    metrics : tuple of (str, Metric)
        What an evaluation measures besides loss and accuracy, by column of the result file.
    """

    config: Config
    dataset: Dataset
    test: Samples
    counts: Integers
    work: Reals
    devices: Devices
    schedule: Schedule
    engine: Engine
    algorithm: Algorithm
    stages: tuple[Stage, ...]
    selector: Selector
    server: ServerOptimizer
    weights: Vector
    memories: ClientStore
    metrics: tuple[tuple[str, Metric], ...] = ()

    @property
    def layout(self) -> Layout:
        """The shape of the model."""
        return self.engine.layout

    @property
    def partition(self) -> Partition:
        """Which training samples each client holds."""
        return self.engine.data.partition

    @property
    def sizes(self) -> Integers:
        """int64[K]: the number of samples of each client."""
        sizes: Integers = self.partition.sizes
        return sizes

    @cached_property
    def _flops_of_a_sample(self) -> float:
        """Of training the whole model on one sample."""
        return float(flops.count(self.layout).sum())

    def flops(self, plan: Plan, report: Report) -> float:
        """Return the floating-point operations behind a client's Report."""
        parts = (plan.submodel, plan.mask, plan.gates, plan.update)
        if plan.backward.whole and not report.probed and all(part is None for part in parts):
            return report.seen * self._flops_of_a_sample
        layout, first = self.engine.layout_of(plan.submodel), self._first_step(report.client)
        return float(flops.of_plan(layout, plan, report.seen, report.probed, first).sum())

    def _first_step(self, client: int) -> int:
        """Return how many samples are in the first step of a client's round."""
        return min(self.config.clients.batch_size, int(self.sizes[client]))

    def check_memory(self, plan: Plan, client: int) -> None:
        """Raise ConfigError if a client's device cannot hold what its Plan trains."""
        if not limited(self.devices):
            return
        optimizer, batch_size = self.config.optimizer, self.config.clients.batch_size
        moments = 2 if optimizer.name == "adam" else int(optimizer.momentum > 0)
        layout = self.engine.layout_of(plan.submodel)
        check_memory(self.devices, client, needed_mb(layout, batch_size, moments))

    def planned_cost(
        self, plan: Plan, client: int, messages: Messages
    ) -> tuple[int, int, float]:
        """Return (bytes down, bytes up, FLOPs) of a client's round, as its Plan has it."""
        down = sum(message.size.total for message in messages.down(plan))
        layout, first = self.engine.layout_of(plan.submodel), self._first_step(client)
        work = float(flops.of_plan(layout, plan, int(self.work[client]), first=first).sum())
        return down, messages.planned_up(plan).size.total, work

    def flops_inference(self, state: State) -> float:
        """Return the floating-point operations of one sample through the global model."""
        gates = self.algorithm.setting.gates
        return float(flops.inference(self.layout, self.algorithm.kept(state), gates))

    @cached_property
    def test_split(self) -> Partition:
        """The Partition of the test samples over the clients, by the labels that each holds."""
        data, classes = self.dataset, self.dataset.classes
        rng = rng_for(self.config.run.seed, "test-split")
        test = (data.y_test, data.groups_test)
        split: Partition = held_out(self.partition, data.y_train, test, classes, rng)
        return split
