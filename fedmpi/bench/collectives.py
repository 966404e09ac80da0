"""Measure the sums over ranks, against MPI's own sums and other sparse schemes.

Every rank brings a float32 contribution; a sum is complete when every rank can read it. All
arms of a case take turns, so that all meet the same disturbances. A call takes as long as its
slowest rank, and an arm is judged by its best call.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from fedmpi.arrays import Reals, Vector
from fedmpi.bench import schemes
from fedmpi.bench.all_ranks import of_all
from fedmpi.bench.measure import Found, judged, plain
from fedmpi.bench.sum_bars import BAR_SIZE, bars
from fedmpi.comm.reduce import ALGORITHMS, Reducer
from fedmpi.comm.reduce.field import FLAT, Field, Units
from fedmpi.comm.reduce.reducer import Result
from fedmpi.kernels.sums import SCALE
from fedmpi.rng import rng_for

if TYPE_CHECKING:
    from fedmpi.comm.mpi import Mpi, Raw

T = TypeVar("T")
Arms: TypeAlias = Mapping[str, Callable[[], object]]
SUPPORTS = ("independent", "identical", "row blocks", "power law")
PATIENCE, HASTE = 1.0, 0.25  # seconds for one arm in one case; if only bars are measured
INEXACT = ("gtopk", "oktopk", "fast")  # drop or round more than the others
ROW = 64  # coordinates of a row, for supports of whole rows


@dataclass(frozen=True)
class Case:
    """A point of the grid; in a `short` case the schemes of other authors are left out."""

    n: int
    density: float
    support: str
    repeats: int
    short: bool = False


@dataclass(frozen=True)
class Row:
    """The result of one arm in one case."""

    n: int
    density: float
    support: str
    arm: str
    seconds: float
    median: float
    bytes: int  # that one rank sent; 0 in shared memory
    algorithm: str  # what ran
    union: float  # density of the sum
    regret: float  # seconds over the best arm's, less one; lossy arms and "fast" do not count


def grid(part: str = "all") -> list[Case]:
    """Return the Cases: "all" of them, those that the "bars" need, or a "quick" few."""
    if part == "quick":
        return [Case(100_000, d, s, 5) for d in (0.01, 0.1) for s in SUPPORTS[:2]]
    densities, short = (0.001, 0.01, 0.1, 0.5), part == "bars"
    sizes = {10**5: 41, 10**6: 11} if short else {10**5: 41, 10**6: 7, 10**7: 7}
    cases = [
        Case(n, d, s, repeats, short)
        for n, repeats in sizes.items() for d in densities for s in SUPPORTS
    ]  # fmt: skip
    one = "independent"
    return cases + [Case(BAR_SIZE, d, one, 25, short) for d in (*densities, 1.0)]


def run(comm: "Mpi", part: str = "all") -> Found:
    """Measure the cases of a `grid` on the ranks of an Mpi; collective.

    Returns a dict for JSON, the same on all ranks: "ranks", "nodes", "rows" (see Row) and "bars".
    """
    rows: list[Row] = []
    raw, count = comm.raw, comm.count_nodes()
    for case in grid(part):
        rows += measure(raw, case)
    return dict(plain({
        "ranks": raw.size,
        "nodes": count,
        "rows": [asdict(row) for row in rows],
        "bars": judged(bars(rows, raw.size, count), part == "quick"),
    }))  # fmt: skip


def measure(raw: "Raw", case: Case) -> list[Row]:
    """Return the Rows of one case."""
    indices = support(case, raw.rank)
    values = rng_for(1, "bench values", 0, raw.rank).standard_normal(indices.size, np.float32)
    reducers = {"node": Reducer(raw), "flat": Reducer(raw, nodes=raw.rank)}
    calls, ready = arms(raw, reducers, case, indices, values)
    times, results = _take_turns(raw, calls, ready, case)
    best = min(times[arm].min() for arm in calls if arm not in INEXACT)
    rows: list[Row] = []
    for arm, taken in times.items():
        record = getattr(results[arm], "record", None)
        regret = taken.min() / best - 1
        sent = record.bytes if record else _bytes(arm, case.n, indices.size, raw.size)
        rows.append(
            Row(
                case.n,
                case.density,
                case.support,
                arm,
                float(taken.min()),
                float(np.median(taken)),
                int(sent),
                record.algorithm if record else arm,
                record.density if record else 0.0,
                float(regret),
            )
        )
    for reducer in reducers.values():
        reducer.close()
    return rows


def support(case: Case, rank: int) -> Units:
    """Return the coordinates that a rank contributes, uint32 in ascending order."""
    rng = rng_for(1, "bench support", 0, 0 if case.support == "identical" else rank)
    if case.support == "row blocks":
        rows = np.flatnonzero(rng.random(-(-case.n // ROW)) < case.density)
        units = (rows[:, None] * ROW + np.arange(ROW)).ravel()
        return units[units < case.n].astype(np.uint32)
    chance: float | Reals = case.density
    if case.support == "power law":  # dense at the low end, with the same law on all ranks
        chance = case.density * 0.5 * np.sqrt(case.n / np.arange(1, case.n + 1))
    return np.flatnonzero(rng.random(case.n) < chance).astype(np.uint32)


def arms(
    raw: "Raw", reducers: Mapping[str, Reducer], case: Case, indices: Units, values: Vector
) -> tuple[Arms, Callable[[], None]]:
    """Return {arm: call}, and a function that prepares the contributions before each call.

    A call may return a Result with a `record`, or anything else.
    """
    n, one = case.n, np.zeros(case.n, np.float32)
    one[indices] = values
    two, wide, sum_wide = np.empty_like(one), one.astype(np.float64), np.empty(n)
    calls: dict[str, Callable[[], object]] = {
        "mpi float32": lambda: raw.Allreduce(one, two),
        "mpi float64": lambda: raw.Allreduce(wide, sum_wide),
    }
    if not case.short:
        calls["pickled"] = schemes.pickled(raw, n, indices, values)
        calls["allgatherv numpy"] = schemes.gathered(raw, n, indices, values)
    if not case.short and case.support != "row blocks" and case.density < 1:  # needs equal lists
        short = int(of_all(raw, indices.size).min())
        calls["gtopk"] = schemes.gtopk(raw, n, indices[:short], values[:short])
        calls["oktopk"] = schemes.oktopk(raw, n, indices, values)
    own = [_empty(n, np.int64)]
    for name in ("auto", *ALGORITHMS):
        calls[f"flat {name}"] = _flat(reducers["flat"], name, own[0])
    for name, dtype in (("exact", np.int64), ("fast", np.float32)):
        field = reducers["node"].row(name, n, dtype=dtype, cover=False)
        if field is None:
            own.append(field := _empty(n, dtype))
        _write(field, indices, values)
        given = field.total, field.cover, field.touched
        calls[name] = partial(reducers["node"].sum, *given, name=name)

    def ready() -> None:
        """Write the contributions again if, without shared memory, the sum has replaced them."""
        for field in own:
            _write(field, indices, values)

    return calls, ready


def _flat(reducer: Reducer, algorithm: str, field: Field) -> Callable[[], Result]:
    """Return a call that makes the exact sum by messages alone, as if every rank were a node."""

    def call() -> Result:
        reducer.algorithm = algorithm
        return reducer.sum(field.total, field.cover, field.touched, name="flat")

    return call


def _empty(size: int, dtype: DTypeLike) -> Field:
    """Return a private Field of a rank, for single coordinates without weights."""
    return Field(np.zeros(size, dtype), np.zeros(0, dtype), np.zeros(size, np.uint8), FLAT)


def _write(field: Field, indices: Units, values: Vector) -> None:
    """Set `field` to the float32 `values` at `indices`, in quanta if it is exact."""
    field.clear()
    quanta = np.rint(SCALE * values.astype(np.float64)) if field.exact else values
    field.total[indices] = quanta
    field.touched[indices] = 1


def _take_turns(
    raw: "Raw", calls: Arms, ready: Callable[[], None], case: Case
) -> tuple[dict[str, Reals], dict[str, object]]:
    """Return ({arm: seconds float64[calls] of the slowest rank}, {arm: last answer})."""
    results: dict[str, object] = {}
    first: dict[str, float] = {}
    for arm, call in calls.items():
        for _ in range(2):
            ready()
            first[arm], results[arm] = timed(raw, call)
    times = {arm: [seconds] for arm, seconds in first.items()}
    patience = HASTE if case.short else PATIENCE
    for turn in range(1, case.repeats):
        # In a new order each time: the data that an arm leaves in the caches affect the next arm.
        for arm in rng_for(1, "bench order", turn).permutation(list(calls)):
            if turn * first[arm] < patience:
                ready()
                seconds, results[arm] = timed(raw, calls[arm])
                times[arm].append(seconds)
    return {arm: np.array(taken) for arm, taken in times.items()}, results


def timed(raw: "Raw", call: Callable[[], T]) -> tuple[float, T]:
    """Return (seconds of the slowest rank, answer); the ranks begin together."""
    raw.Barrier()
    began = perf_counter()
    answer = call()
    return float(of_all(raw, perf_counter() - began).max()), answer


def _bytes(arm: str, n: int, k: int, ranks: int) -> float:
    """Return the bytes that a rank sends in an arm without a record, by its algorithm."""
    share = (ranks - 1) / ranks
    sent: dict[str, float] = {
        "mpi float32": 8 * n * share,
        "mpi float64": 16 * n * share,
        "pickled": 4 * n,
        "allgatherv numpy": 8 * k * (ranks - 1),
        "gtopk": 8 * k * math.log2(ranks),
        "oktopk": 16 * k * share,
    }
    return sent[arm]
