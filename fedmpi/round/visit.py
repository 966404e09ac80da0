"""The visit of one client: from the report of its training to what the server receives.

    Job, Report -> message -> stages -> encode, decode -> Arrival -> add
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedmpi import returned
from fedmpi.algorithms import Algorithm
from fedmpi.arrays import Memory
from fedmpi.errors import FedmpiError
from fedmpi.exchange import CLIENT_FAULTS, Arrival, Failure, Job, Parts, Report
from fedmpi.layout import Support
from fedmpi.learn.engine import Engine
from fedmpi.round.messages import Message, Messages
from fedmpi.stages import Stage, applied, restored, without_stages
from fedmpi.totals import Sums, one_client


@dataclass(frozen=True, eq=False)
class Server:
    """What the server's side of a visit needs, the same for all clients of a run.

    Attributes
    ----------
    algorithm : Algorithm
    stages : sequence of Stage
    messages : Messages
    memory : callable
        memory(client) is all that a client keeps, arrays by name.
    """

    algorithm: Algorithm
    stages: Sequence[Stage]
    messages: Messages
    memory: Callable[[int], Memory]

    @property
    def resizes(self) -> bool:
        """True if the bytes of a message depend on what the stages do with it."""
        return any(stage.resizes for stage in self.stages)


@dataclass(frozen=True, eq=False)
class Visit:
    """What became of one client's job.

    Attributes
    ----------
    job : Job
    report : Report or None
        None if the client's training or its message failed.
    down, up : list of Message
        What the client received and sent; `up` is empty if it sent nothing.
    sent : Support or None
        The coordinates in any part of its message.
    arrival : Arrival or None
        What the server received; None if the client is rejected.
    memory : dict of arrays, or None
        What the client keeps, once the arrival is in the sums; None for nothing new.
    reason : str
        Why the client is rejected, "" if it is not.
    """

    job: Job
    report: Report | None
    down: list[Message]
    up: list[Message]
    sent: Support | None = None
    arrival: Arrival | None = None
    memory: Memory | None = None
    reason: str = ""

    def rejected(self, reason: str) -> "Visit":
        """Return this visit with its client rejected."""
        return replace(self, arrival=None, memory=None, reason=reason)


def visits(server: Server, engine: Engine, jobs: Iterable[Job]) -> Iterator[Visit]:
    """Let an engine train `jobs`, and yield the Visit of each in turn."""
    begun: deque[Job] = deque()

    def noted() -> Iterator[Job]:
        """Pass the jobs on, and keep them until their reports are out."""
        for job in jobs:
            begun.append(job)
            yield job

    for report in engine.train(noted()):
        yield visit(server, begun.popleft(), report)


def visit(server: Server, job: Job, report: Report | Failure) -> Visit:
    """Return the Visit of a client: its report as a message, through the stages and the codec.

    Nothing changes but the sizes that `server.messages` keeps.
    """
    down = server.messages.down(job.plan)
    if isinstance(report, Failure):
        return Visit(job, None, down, [], reason=report.reason)
    try:
        return _visited(server, job, report, down)
    except CLIENT_FAULTS as fault:
        return Visit(job, None, down, [], reason=_reason(fault))


def add(algorithm: Algorithm, sums: Sums, done: Visit, arrival: Arrival) -> Visit:
    """Add what arrived in a visit to the sums, all of it or nothing; return the Visit.

    `arrival` is the visit's, or what the schedule made of it. A client whose numbers do not fit
    is rejected.
    """
    try:
        with one_client(sums) as pending:
            algorithm.add(pending, arrival)
    except CLIENT_FAULTS as fault:
        return done.rejected(_reason(fault))
    return done


def _visited(server: Server, job: Job, report: Report, down: list[Message]) -> Visit:
    """Do the work of `visit` for a client that was trained; raises what CLIENT_FAULTS names."""
    algorithm, memory = server.algorithm, server.memory(job.client)
    message, (parts, support), up, kept = outgoing(server, job, report)
    arrival = Arrival(job.client, job.share, report.steps, report.loss, parts, job.round)
    done = Visit(job, report, down, up, support, arrival)
    if not np.isfinite(report.loss):
        return done.rejected(f"its loss is {report.loss:g}")
    own = _remembered(algorithm, job, report, message, arrival)
    method = without_stages(memory)
    if own is None and not kept and len(method) == len(memory):
        return done
    return replace(done, memory={**(method if own is None else own), **kept})


def outgoing(
    server: Server, job: Job, report: Report
) -> tuple[Parts, tuple[Parts, Support], list[Message], Memory]:
    """Return what a client sends, on all of its way to the server.

    That is its message as the method has it; the parts as they arrive, and the Support of all of
    them; the sizes; and what the stages keep with the client.
    """
    algorithm, base = server.algorithm, None
    message = algorithm.message(job, report)
    returned.message(message, job.plan.up.layout, algorithm)
    if server.stages and algorithm.base is not None:
        base = job.state[algorithm.base]
    sent, kept = applied(server.stages, base, job, message, server.memory(job.client))
    parts, up, support = server.messages.up(job.plan, sent)
    return message, (restored(parts, base), support), up, kept


def _remembered(
    algorithm: Algorithm, job: Job, report: Report, message: Parts, arrival: Arrival
) -> Memory | None:
    """Return what the method keeps with the client."""
    own = algorithm.remember(job, report, message, arrival)
    returned.memory(own, algorithm)
    if own is not None and not algorithm.remembers:
        raise FedmpiError(
            f"{returned.place(algorithm, 'remember')} returned {', '.join(own) or 'a dict'}, but "
            "the class does not say `remembers = True`; add that line to it"
        )
    return own


def _reason(fault: Exception) -> str:
    """Return in a line why a client is rejected."""
    return str(fault) or type(fault).__name__
