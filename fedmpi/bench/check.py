"""Compare the replay with real sums on a few ranks, case by case.

The network of this machine is measured in turn with the sums, on the same ranks at the same
time, so both meet the same contention for memory. The computation of a rank between its messages
comes from the log of the sum; no parameter is fitted to a sum. A sum does not count if a rank was
preempted meanwhile, since the replay does not model other programs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, isfinite
from resource import RUSAGE_SELF, getrusage
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fedmpi.arrays import AnyArray
from fedmpi.bench.all_ranks import of_all
from fedmpi.bench.collectives import timed
from fedmpi.bench.measure import Bar, Found, plain
from fedmpi.bench.replay import LONG, ModelledNetwork, dense, logged, replay
from fedmpi.comm.reduce import Log, Reducer
from fedmpi.comm.reduce.link import Link
from fedmpi.comm.reduce.log import COLUMNS
from fedmpi.rng import rng_for

if TYPE_CHECKING:
    from fedmpi.comm.mpi import Raw

Case: TypeAlias = tuple[int, float]
"""Coordinates, density."""
Timed: TypeAlias = tuple[float, AnyArray | None]
"""(seconds of the slowest rank, infinite if disturbed; the answer)."""
Call: TypeAlias = Callable[[], Timed]
METHODS = ("halving", "split", "allgatherv", "dsar", "dense")
SHORT, MIDDLE, LARGE = 64, 2 * LONG, 1 << 22  # bytes of the messages that are measured

BOUND = 1.2  # on predicted over taken time, or its inverse


@dataclass(frozen=True)
class Size:
    """The extent of a measurement: cases, least turns, and seconds to wait for undisturbed sums."""

    cases: tuple[Case, ...] = ((10**6, 0.01), (10**6, 0.05), (4 * 10**6, 0.01))
    turns: int = 31
    patience: float = 30.0


QUICK = Size(((10**5, 0.02),), turns=3, patience=1.0)


@dataclass(frozen=True)
class Row:
    """A method in a case: its fastest undisturbed sum and the replay of this sum, NaN if none."""

    ranks: int
    n: int
    density: float
    method: str
    taken: float  # seconds of the slowest rank
    predicted: float
    ratio: float  # predicted over taken


def run(raw: "Raw", size: Size) -> Found:
    """Make real sums on the ranks of a communicator and replay their logs.

    Returns a dict for JSON, the same on all ranks: "ranks", the measured "network", "rows" (see
    Row) and "bars".
    """
    trial, probes = Trial(raw), _probes(raw)
    sums: dict[tuple[Case, str], Call] = {
        (case, method): trial.sum_of(*case, method) for case in size.cases for method in METHODS
    }
    calls: list[Call] = [*probes.values(), *sums.values()]
    for call in calls:
        call()
    best: list[Timed] = [(inf, None)] * len(calls)
    began, turn = perf_counter(), 0
    while turn < size.turns or not _enough(raw, best, perf_counter() - began > size.patience):
        for i in rng_for(1, "bench order", turn).permutation(len(calls)).tolist():
            best[i] = min(best[i], calls[i](), key=lambda pair: pair[0])
        turn += 1
    trial.close()
    taken = [seconds for seconds, _ in best[: len(probes)]]
    network = fitted(raw.size, dict(zip(probes, taken, strict=True)))
    rows = [_row(raw.size, network, *name, *found)
            for name, found in zip(sums, best[len(probes) :], strict=True)]
    return dict(plain({
        "ranks": raw.size,
        "network": asdict(network),
        "rows": [asdict(row) for row in rows],
        "bars": [bar.plain() for bar in bars(rows)],
    }))  # fmt: skip


def fitted(ranks: int, seconds: Mapping[str, float]) -> ModelledNetwork:
    """Return the ModelledNetwork on which the measured messages take the measured times.

    `seconds` are those of "short", "middle" and "large" exchanges in a ring, and of "built-in", an
    Allreduce of LARGE bytes of int64.
    """
    per_byte = max(seconds["large"] - seconds["middle"], 0.0) / (LARGE - MIDDLE)
    third = seconds["short"] / 3  # L + 2 o
    handshake = max(seconds["middle"] - seconds["short"] - MIDDLE * per_byte, 0.0)
    plain_network = ModelledNetwork(third, third, per_byte, handshake)
    without, slow = (
        replay(dense(ranks, LARGE, combine), ranks, plain_network).max() for combine in (0.0, 1e-9)
    )
    combine = 1e-9 * max(seconds["built-in"] - without, 0.0) / (slow - without)
    return ModelledNetwork(third, third, per_byte, handshake, combine=float(combine))


def bars(rows: Sequence[Row]) -> list[Bar]:
    """Return a Bar for each method and number of ranks, on the median over the cases."""
    found: list[Bar] = []
    note = "median over the cases; none if other programs disturbed every sum"
    for ranks, method in dict.fromkeys((row.ranks, row.method) for row in rows):
        mine = [row.ratio for row in rows if (row.ranks, row.method) == (ranks, method)]
        off = [max(ratio, 1 / ratio) for ratio in mine if isfinite(ratio)]
        name = f"replay against real {method}, {ranks} ranks"
        found.append(Bar(name, float(np.median(off)) if off else None, BOUND, False, note))
    return found


def _enough(raw: "Raw", best: Sequence[Timed], late: bool) -> bool:
    """Return, the same on all ranks, whether it is `late` or every call ran undisturbed once."""
    done = np.array([late or all(isfinite(seconds) for seconds, _ in best)], np.int64)
    raw.Bcast(done, root=0)
    return bool(done[0])


def _undisturbed(raw: "Raw", call: Callable[[], object]) -> float:
    """Return the seconds of the slowest rank, infinite if a rank was preempted meanwhile."""

    def watched() -> int:
        before = getrusage(RUSAGE_SELF).ru_nivcsw
        call()
        return getrusage(RUSAGE_SELF).ru_nivcsw - before

    seconds, lost = timed(raw, watched)
    return inf if of_all(raw, lost).any() else seconds


class Trial:
    """Real sums with a log, on the ranks of one communicator."""

    def __init__(self, raw: "Raw") -> None:
        self._raw, self._log = raw, Log()
        self._reducer = Reducer(raw, nodes=raw.rank, log=self._log)

    def sum_of(
        self, n: int, density: float, method: str
    ) -> Callable[[], tuple[float, AnyArray]]:
        """Return a function that sums once and returns (seconds of the slowest rank, log rows)."""
        mine = rng_for(1, "scale check", n, self._raw.rank).random(n) < density
        values, touched = mine.astype(np.int64), mine.astype(np.uint8)
        total, marks = np.empty_like(values), np.empty_like(touched)

        def call() -> tuple[float, AnyArray]:
            total[:], marks[:] = values, touched
            self._log.clear()
            self._reducer.algorithm = method
            seconds = _undisturbed(self._raw, lambda: self._reducer.sum(total, total[:0], marks))
            return seconds, _everyone(self._raw, self._log.rows())

        return call

    def close(self) -> None:
        """Free the communicators."""
        self._reducer.close()


def _probes(raw: "Raw") -> dict[str, Call]:
    """Return {name: call} of the messages to measure; a call returns (seconds, answer)."""
    link = Link(raw)

    def ring(size: int) -> Call:
        def call() -> Timed:
            message = link.take("encoded", size)
            message[8:] += 1  # like a list just made, it is not in the target's cache
            message[:8].view(np.int64)[0] = size
            ends = (raw.rank + 1) % raw.size, (raw.rank - 1) % raw.size
            return timed(raw, lambda: link.swap(message, *ends))

        return call

    vector = np.zeros(LARGE // 8, np.int64)

    def built_in() -> Timed:
        vector[:] = 1
        return timed(raw, lambda: link.allreduce(vector))

    rings = {"short": ring(SHORT), "middle": ring(MIDDLE), "large": ring(LARGE)}
    return rings | {"built-in": built_in}


def _row(
    ranks: int, network: ModelledNetwork, case: Case, method: str, taken: float,
    log: AnyArray | None,
) -> Row:
    """Return the Row of one case from its fastest sum."""
    predicted = np.nan
    if log is not None and isfinite(taken):
        rounds = logged(log, ranks, network.combine)
        predicted = float(replay(rounds, ranks, network).max())
    return Row(ranks, case[0], case[1], method, taken, predicted, predicted / taken)


def _everyone(raw: "Raw", rows: AnyArray) -> AnyArray:
    """Return the log rows of all ranks."""
    counts = of_all(raw, rows.nbytes)
    every = np.empty(int(counts.sum()), np.uint8)
    raw.Allgatherv(rows.view(np.uint8), [every, counts])
    return every.view(COLUMNS)
