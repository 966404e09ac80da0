"""The interface of engines, which train clients, one job after another, and evaluate models."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fedmpi.arrays import AnyArray, Bools, Integers, Reals, Vector
from fedmpi.errors import ConfigError, either
from fedmpi.exchange import Failure, Job, Report
from fedmpi.layout import Layout
from fedmpi.learn.augment import moved
from fedmpi.learn.local import Local
from fedmpi.learn.losses import LOSSES, OF_CLASSES
from fedmpi.learn.partitions.drawn import Drawn
from fedmpi.learn.partitions.partition import Partition
from fedmpi.learn.sample_arrays import Samples
from fedmpi.plan import Own, Plan, Submodel
from fedmpi.rng import rng_for

BLOCK = 500  # samples evaluated together; fixed, so that no result depends on the ranks

ENGINES: dict[str, type["Engine"]] = {}
"""The engines by name."""

Lines = tuple[Integers, Integers]
"""The source rows int64[n, H] and columns int64[n, W] of shifted images."""

Augment = Callable[[tuple[int, ...], int, np.random.Generator], Lines]
"""(shape of an image, number of images, rng) -> the Lines from which images are taken."""

BatchPlaces = tuple[Integers, Lines | None, bool]
"""One batch: indices of the samples, how images are shifted, and whether it ends an epoch."""


def nothing() -> None:
    """Do nothing after a step."""


def right_of(outputs: AnyArray, y: AnyArray) -> Bools:
    """Return bool[...]: where the largest of the outputs float32[..., C] is at class y int64[...].

    Raises ConfigError for targets that are not classes.
    """
    if y.dtype.kind != "i":
        raise ConfigError(
            "accuracies need classes, and the data have targets of another kind; "
            "use an algorithm that asks for no accuracy"
        )
    return np.asarray(outputs.argmax(axis=-1) == y)


@dataclass(frozen=True, eq=False)
class ClientData:
    """The clients' training samples, and the settings of their training.

    Attributes
    ----------
    samples : Samples
        The samples of all clients; empty if clients draw their samples.
    partition : Partition or Drawn
        The samples that each client holds, or the number that it draws.
    local : Local
    seed : int
        The run's seed.
    augment : callable, optional
    loss : str
        The loss that clients minimise and evaluations report: a name of `losses.LOSSES`, or
        package.module:object.
    draw : callable, optional
        draw(client) -> Samples that a client draws when it trains.
    """

    samples: Samples
    partition: Partition | Drawn
    local: Local
    seed: int
    augment: Augment | None = None
    loss: str = "cross-entropy"
    draw: Callable[[int], Samples] | None = None

    @property
    def labels(self) -> int:
        """The largest class among the training samples plus one; 0 if it is unknown."""
        if LOSSES.find(self.loss).target != "class":
            return 0
        return int(self.samples.y.max()) + 1 if len(self.samples) else 0

    def held(self, client: int) -> Samples:
        """Return the Samples that include a client's samples; only its own if it draws them."""
        return self.draw(client) if self.draw else self.samples

    def largest_drawn(self, sample: AnyArray) -> int:
        """Return the most bytes of x that a client draws; `sample` is one sample [1, ...]."""
        return int(self.partition.sizes.max(initial=0)) * sample.nbytes if self.draw else 0

    def batches(self, job: Job) -> Iterator[tuple[AnyArray, Integers, bool]]:
        """Yield (x, y, whether it ends an epoch) of each batch that a job trains on.

        A batch is read only when it is needed, so that no client's data are copied as a whole.
        """
        samples = self.held(job.client)
        for places, lines, last in self.batch_places(job):
            x, y = samples.take(places)
            yield x if lines is None else moved(x, *lines), y, last

    def batch_places(self, job: Job) -> Iterator[BatchPlaces]:
        """Yield the sample indices of each batch of a job, and how its images are shifted."""
        index = self.partition.of(job.client)
        rng = rng_for(self.seed, "augment", job.round, job.client)
        whose = self.seed, job.round, job.client
        for batch, last in self.local.batches(*whose, len(index), job.plan.steps):
            lines = None
            if self.augment is not None:
                lines = self.augment(self.samples.x.shape[1:], len(batch), rng)
            yield index[batch], lines, last

    def probes(self, job: Job) -> Iterator[tuple[AnyArray, Integers]]:
        """Yield (x, y) of the batches whose gradient a job measures after its last step.

        There are `job.plan.probes` batches, or fewer if the client has too few samples.
        """
        return map(self.held(job.client).take, self.probe_places(job))

    def probe_places(self, job: Job) -> Iterator[Integers]:
        """Yield the indices of those batches in `held(job.client)`."""
        index = self.partition.of(job.client)
        order = self.local.probe(self.seed, job.round, job.client, len(index))
        size = self.local.batch_size
        for first in range(0, min(len(order), job.plan.probes * size), size):
            yield index[order[first : first + size]]

    def blocks(self, client: int) -> Iterator[tuple[AnyArray, Integers]]:
        """Yield (x, y) of all samples of a client, BLOCK of them at a time."""
        return map(self.held(client).take, self.block_places(client))

    def block_places(self, client: int) -> Iterator[Integers]:
        """Yield the indices of those samples in `held(client)`."""
        index = self.partition.of(client)
        for first in range(0, len(index), BLOCK):
            yield index[first : first + BLOCK]


@dataclass(frozen=True)
class OnDevice:
    """The device of the batched engine, and how it computes there.

    Attributes
    ----------
    device : str
        A torch device name: "cpu", or "cuda:0" and so on.
    chunk : int, optional
        Number of clients that train at once. By default a rule on the model and `selected` decides.
    precision : "float32" or "bfloat16"
        Precision of the layers' arithmetic.
    selected : int
        Number of clients of a round, on all ranks together.
    stacked : bool, optional
        Whether the layers of all clients run as one operation. By default a rule decides.
    """

    device: str = "cpu"
    chunk: int | None = None
    precision: str = "float32"
    selected: int = 1
    stacked: bool | None = None


class Engine(ABC):
    """Trains clients and evaluates models on this rank.

    An engine keeps nothing of a client after its report. The result of a job depends only on the
    job and on the engine's data, so any order of jobs gives the same reports.

    A subclass is registered by the `name` in its class statement. It declares `mechanisms`, a
    subset of `plan.MECHANISMS` and "error.<name>" for each error that it can minimise.

    Parameters
    ----------
    data : ClientData
    on_step : callable
        Called without arguments after each step of each client.
    """

    name: ClassVar[str] = ""
    mechanisms: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name is not None:
            ENGINES[name] = cls
            cls.name = name

    def __init__(self, data: ClientData, on_step: Callable[[], None] = nothing) -> None:
        self.data, self.on_step = data, on_step

    @property
    def facts(self) -> dict[str, Any]:
        """The facts, besides the configuration, on which a run's bits depend; for /provenance."""
        return {"name": self.name}

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """The layout of the whole model."""

    @property
    @abstractmethod
    def initial_weights(self) -> Vector:
        """The weights float32[P] that the model was built with."""

    @property
    def constants(self) -> Mapping[str, AnyArray]:
        """The frozen weights by name, which are neither trained nor sent."""
        return {}

    @abstractmethod
    def layout_of(self, submodel: Submodel | None) -> Layout:
        """Return the layout of the network that a Submodel names; None is the whole model."""

    @abstractmethod
    def part_of(self, submodel: Submodel | None, values: AnyArray | None) -> AnyArray | None:
        """Return those of the values [P] that are at this network's coordinates; None for None.

        Raises ConfigError if the Submodel has a private end, for which there are no values.
        """

    @abstractmethod
    def train(self, jobs: Iterable[Job]) -> Iterator[Report | Failure]:
        """Yield the Report or Failure of each job, in the order of the jobs.

        The next job is requested only when it is needed, so that a caller can stop between clients.
        A Failure is an error that numerical values caused in a client's training.

        Raises
        ------
        ConfigError
            If a plan needs a mechanism that this engine lacks.
        """

    @abstractmethod
    def outputs(self, weights: Vector, x: AnyArray) -> AnyArray:
        """Return the outputs float32[N, classes] for x float32[N, ...], in evaluation mode."""

    @abstractmethod
    def own_outputs(self, own: Own, x: AnyArray) -> AnyArray:
        """Return the outputs of a client's own model for x, as `outputs` does."""

    def outputs_at(
        self, weights: Vector, samples: Samples, index: Integers
    ) -> tuple[AnyArray, AnyArray]:
        """Return the outputs float32[n, ...] and the targets of the samples `index` int64[n]."""
        x, y = samples.take(index)
        return self.outputs(weights, x), y

    def block_statistics(self, weights: Vector, x: AnyArray, block: int) -> Vector:
        """Return float32[P]: `weights` with the statistics of x, a numbered block, alone."""
        raise self._lacks("static normalisation")

    def flow(self, weights: Vector) -> Reals:
        """Return float64[P], the synaptic flow of the whole model at `weights` (flow.py)."""
        raise self._lacks("synaptic flow")

    def _lacks(self, what: str) -> ConfigError:
        return ConfigError(
            f"run.engine = {self.name!r}: a method needs {what}, which this engine cannot "
            "measure; use 'torch'"
        )

    def accuracy(self, client: int, weights: Vector) -> float:
        """Return the accuracy of `weights` float32[P] on the client's own samples."""
        right = asked = 0
        samples = self.data.held(client)
        for index in self.data.block_places(client):
            outputs, y = self.outputs_at(weights, samples, index)
            right += int(right_of(outputs, y).sum())
            asked += y.size
        return right / max(asked, 1)

    def right_answers(self, own: Own, samples: Samples, index: Integers) -> tuple[int, int]:
        """Return (right, all): answers of a client's own model on the samples `index` int64[n]."""
        right = asked = 0
        for first in range(0, len(index), BLOCK):
            x, y = samples.take(index[first : first + BLOCK])
            right += int(right_of(self.own_outputs(own, x), y).sum())
            asked += y.size
        return right, asked

    def check(self, plan: Plan) -> None:
        """Raise ConfigError if the engine lacks a mechanism that a plan needs."""
        missing = sorted(plan.mechanisms - self.mechanisms)
        if missing:
            able = sorted(name for name, kind in ENGINES.items() if missing[0] in kind.mechanisms)
            instead = f"use {either(map(repr, able))}" if able else f"give {either(OF_CLASSES)}"
            raise ConfigError(
                f"run.engine = {self.name!r}: a plan asks for {missing[0]!r}, which this engine "
                f"cannot do; {instead}"
            )
