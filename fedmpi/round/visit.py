"""The visit of one client, from the report of its training to the arrival at the server.

    Job, Report -> message -> stages -> encode, decode -> Arrival -> add
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from fedmpi import returned
from fedmpi.algorithms import Algorithm
from fedmpi.arrays import Memory
from fedmpi.errors import FedmpiError
from fedmpi.exchange import CLIENT_FAULTS, Arrival, Failure, Job, Parts, Report
from fedmpi.layout import Support
from fedmpi.learn.engine import Engine
from fedmpi.round.messages import Messages, PartSize
from fedmpi.stages import Stage, applied, restored, without_stages
from fedmpi.totals import Sums, one_client


@dataclass(frozen=True, eq=False)
class Server:
    """All that the visits of a run share: the server's parts, and the clients' memories.

    Attributes
    ----------
    algorithm : Algorithm
    stages : sequence of Stage
    messages : Messages
    memory : callable
        memory(client) returns the client's memory, arrays by name.
    """

    algorithm: Algorithm
    stages: Sequence[Stage]
    messages: Messages
    memory: Callable[[int], Memory]

    @property
    def resizes(self) -> bool:
        """True if stages may change the number of bytes of a message."""
        return any(stage.resizes for stage in self.stages)


@dataclass(frozen=True, eq=False)
class Visit:
    """The outcome of one client's job.

    Attributes
    ----------
    job : Job
    report : Report or None
        None if the client's training or its message failed.
    down, up : list of PartSize
        The sizes of the parts that it received and sent; `up` is empty if it sent nothing.
    support : Support or None
        The coordinates that any part of its message holds.
    arrival : Arrival or None
        The parts that the server received; None if the client is rejected.
    memory : dict of arrays, or None
        The client's next memory, to be kept once the arrival is added; None for no change.
    reason : str
        The reason why the client is rejected, "" if it is not.
    """

    job: Job
    report: Report | None
    down: list[PartSize]
    up: list[PartSize]
    support: Support | None = None
    arrival: Arrival | None = None
    memory: Memory | None = None
    reason: str = ""

    def rejected(self, reason: str) -> "Visit":
        """Return this visit with its client rejected."""
        return replace(self, arrival=None, memory=None, reason=reason)


def visits(server: Server, engine: Engine, jobs: Iterable[Job]) -> Iterator[Visit]:
    """Train `jobs` with an engine, and yield the Visit of each in turn."""
    begun: deque[Job] = deque()

    def noted() -> Iterator[Job]:
        """Pass the jobs on, and keep each until its report has come."""
        for job in jobs:
            begun.append(job)
            yield job

    for report in engine.train(noted()):
        yield visit(server, begun.popleft(), report)


def visit(server: Server, job: Job, report: Report | Failure) -> Visit:
    """Return the Visit of a client, whose report passes through method, stages and codec.

    Nothing is changed, except that `server.messages` caches sizes.
    """
    down = server.messages.down(job.plan)
    if isinstance(report, Report):
        try:
            return _visited(server, job, report, down)
        except CLIENT_FAULTS as fault:
            report = Failure.of(job, fault)
    return Visit(job, None, down, [], reason=report.reason)


def add_arrival(algorithm: Algorithm, sums: Sums, done: Visit, arrival: Arrival) -> Visit:
    """Add an arrival to the sums, either all of it or nothing; return the Visit.

    `arrival` is that of the visit, or its form after the schedule scaled it. A client whose
    numbers the sums cannot hold is rejected.
    """
    lasting = [part.values for part in arrival.parts.values()]
    try:
        with one_client(sums, lasting) as pending:
            algorithm.add(pending, arrival)
    except CLIENT_FAULTS as fault:
        return done.rejected(Failure.of(done.job, fault).reason)
    return done


def _visited(server: Server, job: Job, report: Report, down: list[PartSize]) -> Visit:
    """Do the work of `visit` for a client that was trained. May raise the CLIENT_FAULTS."""
    algorithm, memory = server.algorithm, server.memory(job.client)
    out = outgoing(server, job, report)
    arrival = Arrival(job.client, job.share, report.steps, report.loss, out.parts, job.round)
    done = Visit(job, report, down, out.sizes, out.support, arrival)
    if not np.isfinite(report.loss):
        return done.rejected(f"its loss is {report.loss:g}")
    own = _remembered(algorithm, job, report, out.message, arrival)
    method = without_stages(memory)
    if own is None and not out.memory and len(method) == len(memory):
        return done
    return replace(done, memory={**(method if own is None else own), **out.memory})


class Outgoing(NamedTuple):
    """A client's message on its way to the server.

    Attributes
    ----------
    message : Parts
        The message of the method, before the stages.
    parts : Parts
        The parts as they arrive.
    support : Support
        The coordinates that any part holds.
    sizes : list of PartSize
        The sizes of the encoded parts.
    memory : dict of arrays
        The memory that the stages keep with the client.
    """

    message: Parts
    parts: Parts
    support: Support
    sizes: list[PartSize]
    memory: Memory


def outgoing(server: Server, job: Job, report: Report) -> Outgoing:
    """Return a client's message, which passes through method, stages and codec."""
    algorithm, base = server.algorithm, None
    message = algorithm.message(job, report)
    returned.message(message, job.plan.up.layout, algorithm)
    if server.stages and algorithm.base is not None:
        base = job.state[algorithm.base]
    sent, kept = applied(server.stages, base, job, message, server.memory(job.client))
    parts, sizes, support = server.messages.up(job.plan, sent)
    return Outgoing(message, restored(parts, base), support, sizes, kept)


def _remembered(
    algorithm: Algorithm, job: Job, report: Report, message: Parts, arrival: Arrival
) -> Memory | None:
    """Return the memory that the method keeps with the client, or None for no change."""
    own = algorithm.remember(job, report, message, arrival)
    returned.memory(own, algorithm)
    if own is not None and not algorithm.remembers:
        raise FedmpiError(
            f"{returned.place(algorithm, 'remember')} returned {', '.join(own) or 'a dict'}, but "
            "the class does not say `remembers = True`; add that line to it"
        )
    return own
