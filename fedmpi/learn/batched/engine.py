"""The batched engine: many clients at once on one device."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from fedmpi.arrays import AnyArray, Integers, Vector
from fedmpi.errors import FedmpiError
from fedmpi.exchange import CLIENT_FAULTS, Failure, Job, Report
from fedmpi.learn.batched.chunk import Chunk, ChunkClient
from fedmpi.learn.batched.deterministic import exact
from fedmpi.learn.batched.device_memory import device_bytes, device_memory
from fedmpi.learn.batched.device_samples import DeviceSamples, on
from fedmpi.learn.batched.plan_kind import PlanKind, kind_of
from fedmpi.learn.engine import ClientData
from fedmpi.learn.network_engine import NetworkEngine
from fedmpi.learn.networks import Network, Networks
from fedmpi.learn.one_by_one import ERRORS
from fedmpi.learn.sample_arrays import Samples
from fedmpi.plan import MECHANISMS, Own

AHEAD = 2  # chunks' worth of jobs that are requested ahead, so that a free slot is filled at once


class BatchedEngine(NetworkEngine, name="batched"):
    """Trains the clients of a chunk at once; data, weights and updates are on the device.

    Jobs with plans of different kinds go to different chunks. Reports come in the order of
    the jobs.

    Parameters
    ----------
    networks : Networks
        The networks of the run's model; the backends are StackedModels.
    data : ClientData
    on_step : callable
        Called after each step of each client.
    chunk : int
        Number of clients that train at once, at least one. If their layers run as one operation,
        the bits of the results depend on it.
    """

    mechanisms = MECHANISMS | ERRORS

    def __init__(
        self, networks: Networks, data: ClientData, on_step: Callable[[], None], chunk: int
    ) -> None:
        super().__init__(networks, data, on_step)
        self.chunk = chunk
        self.device: str = networks.whole.backend.device
        self._copies: WeakKeyDictionary[Samples, DeviceSamples] = WeakKeyDictionary()

    @property
    def facts(self) -> dict[str, Any]:
        many = self.networks.whole.backend
        found = {"name": self.name, "device": "cpu", "chunk": self.chunk,
                 "slots": many.slots(self.chunk), "precision": many.precision,
                 "stacked": many.stacked}  # fmt: skip
        if self.device != "cpu":
            found["device"] = torch.cuda.get_device_name(self.device)
            found["cuda"] = str(torch.version.cuda)
            found["cudnn"] = str(torch.backends.cudnn.version())
        return found

    def train(self, jobs: Iterable[Job]) -> Iterator[Report | Failure]:
        coming, chunks = iter(jobs), dict[PlanKind, Chunk]()
        line: deque[tuple[Chunk, ChunkClient] | Failure] = deque()
        asking = True
        while asking or line:
            while asking and len(line) < AHEAD * self.chunk:
                job = next(coming, None)
                asking = job is not None
                if job is not None:
                    line.append(self._begun(job, chunks))
            while line and (ready := _ready(line[0])) is not None:
                line.popleft()
                yield ready
            if line and not isinstance(line[0], Failure):
                self._step(line[0][0])

    def outputs(self, weights: Vector, x: AnyArray) -> AnyArray:
        return self._outputs(self.networks.whole, weights, on(self.device, x))

    def own_outputs(self, own: Own, x: AnyArray) -> AnyArray:
        network = self.networks.of(own.submodel)
        weights = network.enter(own.weights, own.private)
        return self._outputs(network, weights, on(self.device, x))

    def outputs_at(
        self, weights: Vector, samples: Samples, index: Integers
    ) -> tuple[AnyArray, AnyArray]:
        x, _ = self._stock(samples).take(torch.from_numpy(np.asarray(index)).to(self.device))
        return self._outputs(self.networks.whole, weights, x), samples.targets(index)

    def _step(self, chunk: Chunk) -> None:
        try:
            with exact():
                chunk.step()
        except torch.OutOfMemoryError as error:
            raise FedmpiError(self._too_large(str(error))) from None

    def _too_large(self, text: str) -> str:
        """Return an error message that says what to do if the device has too little memory."""
        whole, data = self.networks.whole, self.data
        held = sum(array.nbytes for array in (data.samples.x, data.samples.y))
        module, sample = whole.backend.plain.cpu(), self.networks.sample
        needed = device_memory(module, whole.layout, sample, data, held)
        there, slots = device_bytes(self.device) or 0, whole.backend.slots(self.chunk)
        fits = needed.fitting(there)
        rest = f"run.chunk = {fits} would fit a rank alone" if fits else "no chunk would fit"
        return (
            f"run.chunk = {self.chunk}: {self.device} has too little memory: {slots} slots need "
            f"about {needed.of(slots) / 1e9:.3g} GB, and it has {there / 1e9:.3g} GB for all its "
            f"ranks; {rest}, or take fewer ranks for each GPU or a smaller batch_size\n"
            f"{text.splitlines()[0] if text else ''}"
        )

    def _begun(
        self, job: Job, chunks: dict[PlanKind, Chunk]
    ) -> tuple[Chunk, ChunkClient] | Failure:
        """Return the chunk of a job and its client there, or its Failure."""
        self.check(job.plan)
        job = replace(job, plan=job.plan.minimising(self.data.loss))
        kind = kind_of(job.plan)
        try:
            if kind not in chunks:
                network = self.networks.of(kind.submodel)
                width = network.backend.slots(self.chunk)
                chunks[kind] = Chunk(
                    network, kind, self.data, self._stock, width, self.on_step
                )
            return chunks[kind], chunks[kind].course(job)
        except CLIENT_FAULTS as fault:
            return Failure.of(job, fault)

    def _stock(self, samples: Samples) -> DeviceSamples:
        """Return samples on the device, copied once and kept there as long as `samples` lives."""
        if samples not in self._copies:
            self._copies[samples] = DeviceSamples(samples, self.device)
        return self._copies[samples]

    def _outputs(self, network: Network, weights: Vector, x: torch.Tensor) -> AnyArray:
        with exact():
            values = torch.tensor(weights).to(self.device)
            found: AnyArray = network.backend.outputs(values, x).cpu().numpy()
        return found


def _ready(first: tuple[Chunk, ChunkClient] | Failure) -> Report | Failure | None:
    """Return the Report or Failure of a client; None if it has steps left."""
    if isinstance(first, Failure):
        return first
    chunk, client = first
    return chunk.report(client) if client.done else None
