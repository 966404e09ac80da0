"""A chunk: a fixed number of slots, in each of which clients train one after another."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedmpi.arrays import AnyArray, Integers, Vector
from fedmpi.exchange import CLIENT_FAULTS, Failure, Job, Report
from fedmpi.learn.batched.chunk_steps import ChunkSteps
from fedmpi.learn.batched.device_samples import DeviceSamples
from fedmpi.learn.batched.host_copy import HostCopy
from fedmpi.learn.batched.one_pass import Batches
from fedmpi.learn.batched.plan_kind import PlanKind
from fedmpi.learn.draws import Draws
from fedmpi.learn.engine import BatchPlaces, ClientData
from fedmpi.learn.networks import Network
from fedmpi.learn.sample_arrays import Samples
from fedmpi.plan import PROBED


@dataclass(eq=False)
class ChunkClient:
    """One client's course through a chunk, and its result.

    `left` is the number of remaining steps. `failure` is set if numerical values aborted the
    client's training. `copy` is set once its values are being copied to the host. Of its weights,
    only those at `places` are copied (None: all), since the others have not changed.
    """

    job: Job
    batches: Iterator[BatchPlaces]
    left: int
    samples: int
    lr: float
    start: Vector
    draws: Draws
    count: int = 0
    seen: int = 0
    probed: int = 0
    failure: Failure | None = None
    copy: HostCopy | None = None
    places: Integers | None = None

    @property
    def done(self) -> bool:
        """True if the client left the chunk."""
        return self.failure is not None or self.copy is not None

    def values(self) -> dict[str, Any]:
        """Return the client's results, arrays by name, when they arrive; call it only when done."""
        return {} if self.copy is None else self.copy.arrays()


class Chunk:
    """K slots. The next client fills a slot that becomes free, and no slot affects another.

    So a client goes through operations of the same shapes whatever else is in its chunk, and its
    bits depend only on its job.

    Parameters
    ----------
    network : Network
        Its backend is a StackedModel.
    kind : PlanKind
        The PlanKind of all jobs of this chunk.
    data : ClientData
    stock : callable
        stock(Samples) -> DeviceSamples.
    width : int
        K.
    on_step : callable
        Called after each step of each client.
    """

    def __init__(
        self,
        network: Network,
        kind: PlanKind,
        data: ClientData,
        stock: Callable[[Samples], DeviceSamples],
        width: int,
        on_step: Callable[[], None],
    ) -> None:
        self._network, self._data, self._stock, self._on_step = network, data, stock, on_step
        self._moves = ChunkSteps(network, kind, data.local, width)
        self._slots: list[ChunkClient | None] = [None] * width
        self._held: list[DeviceSamples | None] = [None] * width  # include each client's samples
        self.waiting: deque[ChunkClient] = deque()

    def course(self, job: Job) -> ChunkClient:
        """Return the ChunkClient of a job, after queueing it for a slot."""
        data, plan = self._data, job.plan
        samples = len(data.partition.of(job.client))
        steps = int(data.local.steps_of(samples)) if plan.steps is None else plan.steps
        start = job.state["weights"] if plan.start is None else plan.start
        lr = data.local.lr_of(job.round)
        places, steps = data.batch_places(job), steps if samples else 0
        draws = Draws(data.seed, job.round, job.client)
        course = ChunkClient(job, places, steps, samples, lr, start, draws)
        self.waiting.append(course)
        return course

    def step(self) -> None:
        """Fill free slots, take one step of all clients, and free the slots of finished clients."""
        for slot, course in enumerate(self._slots):
            while course is None and self.waiting:
                course = self._entered(slot, self.waiting.popleft())
            self._slots[slot] = course
        here = [(slot, course) for slot, course in enumerate(self._slots) if course is not None]
        if not here:
            return
        batches, ended = self._batches(here)
        self._moves.take(batches, {slot: course.count + 1 for slot, course in here}, ended)
        for slot, course in here:
            course.left -= 1
            course.count += 1
            try:
                self._on_step()
            except CLIENT_FAULTS as fault:
                course.failure = Failure.of(course.job, fault)
            if not course.left and not course.done:
                self._leave(slot, course)
            if course.done:
                self._slots[slot] = self._held[slot] = None

    def report(self, course: ChunkClient) -> Report | Failure:
        """Return the Report or Failure of a finished job, once its values are on the host."""
        if course.failure is not None:
            return course.failure
        found, network = course.values(), self._network
        changed, loss = found.pop("changed"), float(found.pop("loss"))
        trained = network.enter(course.start, course.job.plan.private).copy()
        places = course.places
        trained[slice(None) if places is None else places] = changed
        weights, private = network.leave(course.start, trained)
        return Report(
            client=course.job.client,
            samples=course.samples,
            seen=course.seen,
            steps=course.count,
            loss=loss / max(course.seen, 1),
            weights=weights,
            lr=course.lr,
            probed=course.probed,
            private=private,
            statistics=found,
        )

    def _entered(self, slot: int, course: ChunkClient) -> ChunkClient | None:
        """Let a client begin in a slot; return None if it left at once, without steps or data."""
        plan, data, client = course.job.plan, self._data, course.job.client
        try:
            self._held[slot] = held = self._stock(data.held(client))
        except CLIENT_FAULTS as fault:  # raised by the user's code that draws samples
            course.failure = Failure.of(course.job, fault)
            return None
        start = self._network.enter(course.start, plan.private)
        self._moves.enter(slot, plan, course.lr, start, course.draws)
        if "columns" in plan.statistics:
            for index in data.block_places(client):
                self._moves.measure(slot, *held.take(self._sent(index)))
                course.probed += len(index)
        if course.left:
            return course
        self._leave(slot, course)
        self._held[slot] = None
        return None

    def _leave(self, slot: int, course: ChunkClient) -> None:
        """Send a client's results to the host; of its weights, only those that may have changed."""
        moves, plan = self._moves, course.job.plan
        found = moves.sums.result(slot)
        for look in (name for name in PROBED if name in plan.statistics):
            self._probe(slot, course, look, found)
        places = course.places = moves.changeable(plan)
        changed = moves.weights[slot, : moves.layout.size]
        if places is not None:
            changed = changed[self._sent(places)]
        course.copy = HostCopy({"changed": changed, "loss": moves.loss[slot], **found})

    def _probe(self, slot: int, course: ChunkClient, look: str, found: dict[str, Any]) -> None:
        """Measure the mean gradient, or the curvature along it, over the probe batches."""
        along = found["gradient"] if look == "curvature" and course.samples else None
        total, samples, held = None, 0, self._held[slot]
        if held is None:
            return
        for index in self._data.probe_places(course.job):
            x, y = held.take(self._sent(index))
            values = self._moves.probe(slot, x, y, along)
            total = values * len(index) if total is None else total + values * len(index)
            samples += len(index)
        if total is not None:
            found[look] = total / samples
            course.probed += samples * (1 if along is None else 2)

    def _batches(self, here: list[tuple[int, ChunkClient]]) -> tuple[Batches, list[int]]:
        """Return the next batch of every slot, and the slots whose epoch ends with it."""
        width = len(self._slots)
        size = self._network.backend.rows(self._data.local.batch_size)
        index, counts, ended = np.zeros((width, size), np.int64), [0] * width, []
        lines: AnyArray | None = None
        for slot, course in here:
            places, moved, last = next(course.batches)
            counts[slot] = len(places)
            course.seen += len(places)
            index[slot], index[slot, : len(places)] = places[0], places
            ended += [slot] if last else []
            if moved is not None:
                rows = np.hstack(moved)
                if lines is None:
                    lines = np.zeros((width, size, rows.shape[1]), np.int64)
                lines[slot], lines[slot, : len(places)] = rows[0], rows
        valid = np.arange(size) < np.array(counts)[:, None]
        x, y = self._taken(self._sent(index), None if lines is None else self._sent(lines))
        return Batches(x, y, self._sent(valid), counts), ended

    def _taken(self, index: Tensor, lines: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return x and targets [K, B, ...] of int64[K, B]; an empty slot gets another's samples."""
        some = next(held for held in self._held if held is not None)
        if self._data.draw is None:
            return some.take(index, lines)
        every = lines if lines is not None else [None] * len(index)
        slots = zip(self._held, index, every, strict=True)
        x, y = zip(*((held or some).take(*places) for held, *places in slots), strict=True)
        return torch.stack(x), torch.stack(y)

    def _sent(self, array: AnyArray) -> Tensor:
        return torch.from_numpy(array).to(self._moves.weights.device, non_blocking=True)
