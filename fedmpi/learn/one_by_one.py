"""Engines that train one client at a time."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Vector
from fedmpi.exchange import CLIENT_FAULTS, Failure, Job, Report
from fedmpi.learn.draws import Draws
from fedmpi.learn.fast.kernel_gradients import KernelGradients
from fedmpi.learn.gradients import Gradients
from fedmpi.learn.losses import OF_CLASSES
from fedmpi.learn.network_engine import NetworkEngine
from fedmpi.learn.networks import Network
from fedmpi.learn.steps import Steps
from fedmpi.plan import MECHANISMS, PROBED, Own, Plan

ERRORS = frozenset(f"error.{name}" for name in OF_CLASSES)


class OneByOne(NetworkEngine):
    """Trains one client after another, in a loop over batches with the steps of the subclass."""

    def train(self, jobs: Iterable[Job]) -> Iterator[Report | Failure]:
        for job in jobs:
            self.check(job.plan)
            try:
                yield self.train_client(job)
            except CLIENT_FAULTS as error:
                yield Failure.of(job, error)

    def train_client(self, job: Job) -> Report:
        """Return the Report of a job; raises the exceptions in CLIENT_FAULTS."""
        plan, data = job.plan.minimising(self.data.loss), self.data
        network, lr = self.networks.of(plan.submodel), data.local.lr_of(job.round)
        start = job.state["weights"] if plan.start is None else plan.start
        draws, entered = Draws(data.seed, job.round, job.client), network.enter(start, plan.private)
        network.backend.begin(draws)
        steps = self.steps_of(network, plan, lr, entered, draws)
        samples = len(data.partition.of(job.client))
        loss, seen, probed = 0.0, 0, 0
        if "columns" in plan.statistics:
            for x, y in data.blocks(job.client):
                steps.measure(x, y)
                probed += len(y)
        for x, y, last in data.batches(job):
            loss += steps.take(x, y) * len(y)
            seen += len(y)
            self.on_step()
            if last:
                steps.end_epoch()
        for look in (name for name in PROBED if name in plan.statistics):
            for x, y in data.probes(job):
                probed += steps.probe(look, x, y)
        trained, statistics = steps.result()
        weights, private = network.leave(start, trained)
        return Report(
            client=job.client,
            samples=samples,
            seen=seen,
            steps=steps.count,
            loss=loss / max(seen, 1),
            weights=weights,
            lr=lr,
            probed=probed,
            private=private,
            statistics=statistics,
        )

    @abstractmethod
    def steps_of(
        self, network: Network, plan: Plan, lr: float, start: Vector, draws: Draws
    ) -> Any:
        """Return the object that takes the steps of one client, with the methods of Steps.

        `start` float32[P'] are the weights at the start of training, in the coordinates of the
        Network. Masks are drawn from `draws`.
        """

    def outputs(self, weights: Vector, x: AnyArray) -> AnyArray:
        found: AnyArray = self.networks.whole.backend.outputs(weights, x)
        return found

    def own_outputs(self, own: Own, x: AnyArray) -> AnyArray:
        network = self.networks.of(own.submodel)
        found: AnyArray = network.backend.outputs(network.enter(own.weights, own.private), x)
        return found


class GradientEngine(OneByOne):
    """Takes each batch's gradient from a backend, corrects it as the plan says, and moves weights.

    The backends of `networks` are Gradients.
    """

    @property
    def gradients(self) -> Gradients:
        """The backend of the whole model."""
        backend: Gradients = self.networks.whole.backend
        return backend

    @property
    def facts(self) -> dict[str, Any]:
        found = {"name": self.name, "vector_width": kernels.lanes.WIDTH}
        return found | ({"reason": self.gradients.reason} if self.gradients.reason else {})

    def steps_of(
        self, network: Network, plan: Plan, lr: float, start: Vector, draws: Draws
    ) -> Steps:
        return Steps(network, plan, self.data.local, lr, start, draws)


class TorchEngine(GradientEngine, name="torch"):
    """Computes gradients with torch, for any module."""

    mechanisms = MECHANISMS | ERRORS


class KernelsEngine(GradientEngine, name="kernels"):
    """Computes gradients with the compiled kernels, for the layers that `fast.chain` supports.

    Parts of the model may have a torch backend.
    """

    mechanisms = MECHANISMS - {"submodel.divisor"} | ERRORS

    @property
    def gradients(self) -> KernelGradients:
        """The backend of the whole model."""
        backend: KernelGradients = self.networks.whole.backend
        return backend
