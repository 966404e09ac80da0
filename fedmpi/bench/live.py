"""Measure a run from the inside: the same as `fedmpi run`, with a clock.

The result is a dict:
    ranks, engine       how it ran
    seconds             of each round, everything included: record, commit, progress
    cpu_seconds         processor seconds of rank 0 in each round
    bare                seconds of training alone for the same clients (with `bare`), by round
    bare_cpu            processor seconds of the same
    phases              mean seconds of each phase on the slowest rank, over all rounds but the
                        first and the last
    train               seconds of the phase "train" of each round, on the slowest rank
    memory              resident bytes of rank 0 after each round
    first_round_at      seconds since the epoch, at the end of the first round
    accuracy            of the last round's weights on the test samples
    weights_sha256      of the last weights
"""

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Reals, Vector
from fedmpi.bench.measure import Found, plain
from fedmpi.comm.base import Comm
from fedmpi.errors import ConfigError
from fedmpi.exchange import Job
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.execute import Start, execute
from fedmpi.experiment.resolve import Resolved
from fedmpi.experiment.stop import NoSignals
from fedmpi.layout import Support
from fedmpi.learn.one_by_one import GradientEngine
from fedmpi.learn.steps import edges_of
from fedmpi.plan import Plan
from fedmpi.record import reader
from fedmpi.record.schema import PHASES
from fedmpi.resident import resident
from fedmpi.round.columns import RoundRecord
from fedmpi.round.synchronous import Synchronous


def measure(resolved: Resolved, comm: Comm, start: Start, bare: bool = False) -> Found | None:
    """Run a Resolved experiment in a temporary folder; return the dict above on rank 0.

    Collective over `comm`; other ranks return None. `start.out` is not used. `bare` needs a
    run of one rank, and raises ConfigError for training that Bare does not support.
    """
    beside = Bare(resolved, comm, start) if bare else None
    clock = Clock(beside)
    with TemporaryDirectory(prefix="fedmpi-bench-") as folder:
        start = replace(start, out=Path(folder, "run.h5"), overwrite=False)
        execute(resolved, comm, start, clock, NoSignals())
        if comm.rank:
            return None
        with reader.open(start.out) as run:
            found = {
                "accuracy": float(run.rounds.test_accuracy[-1]),
                "weights_sha256": run.weights_sha256,
            }
    how = {"ranks": comm.size, "engine": resolved.config.run.engine}
    return dict(plain(how | clock.found() | found))


class Clock:
    """Records the duration of each round on rank 0, without the time that it takes itself."""

    def __init__(self, beside: "Bare | None") -> None:
        self._beside = beside
        self._rows: list[Reals] = []  # seconds of each phase, on its slowest rank
        self._seconds: list[float] = []
        self._cpu: list[float] = []
        self._bare: list[float] = []
        self._bare_cpu: list[float] = []
        self._memory: list[int] = []
        self._first_round_at: float | None = None
        self._start()

    def _start(self) -> None:
        self._began, self._cpu_began = perf_counter(), process_time()

    def __call__(self, row: RoundRecord, rounds: int) -> None:
        """Record a round that has just ended."""
        self._seconds.append(perf_counter() - self._began)
        self._cpu.append(process_time() - self._cpu_began)
        self._first_round_at = self._first_round_at or time.time()
        self._memory.append(resident())
        self._rows.append(np.copy(row.phases.max(axis=1)))
        if self._beside:
            self._start()
            trained = self._beside.train(len(self._bare))
            self._bare.append(perf_counter() - self._began)
            self._bare_cpu.append(process_time() - self._cpu_began)
            self._beside.average(len(self._bare) - 1, trained)
        self._start()

    def found(self) -> Found:
        """Return the recorded values by name."""
        phases = np.mean(self._rows[1:-1] or self._rows, axis=0)
        return {
            "seconds": self._seconds,
            "cpu_seconds": self._cpu,
            "bare": self._bare,
            "bare_cpu": self._bare_cpu,
            "phases": dict(zip(PHASES, phases.tolist(), strict=True)),
            "train": [row[PHASES.index("train")] for row in self._rows],
            "memory": self._memory,
            "first_round_at": self._first_round_at,
        }


class Bare:
    """The bare training of a round's clients, without a round loop: the floor of a round.

    Samples, batch order, gradients and optimiser step are those of the run. The plan is the same
    for all clients; there are no messages, sums or reports. The time of a kernel depends a little
    on the weights (branches on signs), so the weights are trained from round to round too.
    """

    def __init__(self, resolved: Resolved, comm: Comm, start: Start) -> None:
        self._experiment = assemble(
            resolved, comm, start.data_root, start.cache, environ=start.environ
        )
        engine, optimizer = self._experiment.engine, resolved.config.optimizer.name
        if optimizer != "sgd" or not isinstance(engine, GradientEngine):
            raise ConfigError(
                "bench run --bare: needs optimizer.name = 'sgd' and engine 'kernels' or 'torch'; "
                f"this experiment has {optimizer!r} and {engine.name!r}"
            )
        self._gradients, self._data = engine.gradients, engine.data
        self._cohorts = Synchronous(self._experiment)
        layout = self._experiment.layout
        everything = Support.all(layout)
        self._plan = Plan(down=everything, up=everything)
        self._weights: Vector = self._experiment.weights
        self._velocity = np.zeros(layout.size, np.float32)
        self._moving = layout.trained.astype(np.uint8)
        self._edges = edges_of(self._moving)

    def train(self, round: int) -> list[Vector]:
        """Train the clients of a round, one after another; return their weights float32[P]."""
        cohort = self._cohorts.cohort({}, round, 0.0)
        return [self._client(round, client) for client in cohort.clients.tolist()]

    def average(self, round: int, trained: list[Vector]) -> None:
        """Set the weights of the next round to the mean of the `trained` weights."""
        shares = self._cohorts.cohort({}, round, 0.0).shares
        self._weights = np.tensordot(shares, trained, 1).astype(np.float32)

    def _client(self, round: int, client: int) -> Vector:
        data, gradients = self._data, self._gradients
        gradients.weights[:] = self._weights
        self._velocity.fill(0)
        local, lr = data.local, np.float32(data.local.lr_of(round))
        for x, y, _ in data.batches(Job(client, round, {}, self._plan, 1.0)):
            gradients.gradient(gradients.weights, x, y, gradients.grad)
            kernels.update.sgd(
                gradients.weights, gradients.grad, self._velocity, self._weights, self._moving,
                self._edges, lr, local.momentum, local.weight_decay, 0.0,
            )
        return gradients.weights.copy()
