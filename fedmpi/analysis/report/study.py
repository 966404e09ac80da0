"""The runs of a report, grouped by configuration, with their statistics."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fedmpi.analysis import compare, configs, quantities
from fedmpi.arrays import Reals
from fedmpi.record.reader import Run


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one configuration, number `index` on the page; `rows` are the rows of `compare`."""

    index: int
    name: str
    runs: tuple[Run, ...]
    rows: tuple[dict[str, Any], ...]

    def total(self, column: str) -> float:
        """Return the sum of a column of /rounds over all rounds, the mean over the runs."""
        return float(np.mean([run.rounds[column].sum(dtype=float) for run in self.runs]))

    def mean(self, column: str) -> float:
        """Return the mean of a column of /rounds over rounds and runs; NaN if there are none."""
        return center([run.rounds[column].mean() for run in self.runs if len(run.rounds)])

    def last(self, column: str) -> float:
        """Return the last value of a column of /rounds, the mean over the runs that have one."""
        return center([run.rounds[column][-1] for run in self.runs
                       if len(run.rounds) and column in run.rounds])

    def values(self, name: str) -> list[float]:
        """Return the values of `name` in the rows of `compare`, without None."""
        return [row[name] for row in self.rows if row[name] is not None]

    def each_round(self, values: Callable[[Run], ArrayLike]) -> Reals:
        """Return float64[R, ...]: values(run) [rounds, ...], averaged over runs round by round.

        R is the length of the longest run; a round's mean is over the runs that have this round.
        """
        arrays = [np.asarray(values(run), float) for run in self.runs]
        length = max(len(array) for array in arrays)
        arrays = [array for array in arrays if len(array)] or arrays[:1]
        total = np.zeros((length, *arrays[0].shape[1:]))
        count = np.zeros((length, *[1] * (total.ndim - 1)))
        for array in arrays:
            if array.shape[1:] == total.shape[1:]:
                total[: len(array)] += array
                count[: len(array)] += 1
        return total / np.maximum(count, 1)


@dataclass(frozen=True, eq=False)
class Study:
    """All groups; `reference` is the group with which the others are compared."""

    groups: tuple[Group, ...]
    reference: Group
    target: float | None
    notes: tuple[str, ...]  # sentences: the origin of the target, and cautions

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs, in the order of the groups."""
        return tuple(run for group in self.groups for run in group.runs)

    @property
    def rows(self) -> tuple[dict[str, Any], ...]:
        """The rows of `compare`, in the order of `runs`."""
        return tuple(row for group in self.groups for row in group.rows)


def study(runs: Sequence[Run], target: float | None = None) -> Study:
    """Return the Study of Runs. Raises ConfigError for a target outside 0 to 1, or without runs."""
    compared = compare.compare(runs, target)
    lists = configs.alike(runs)
    row_of = {id(run): row for run, row in zip(runs, compared.rows, strict=True)}
    groups = tuple(
        Group(index, name, tuple(found), tuple(row_of[id(run)] for run in found))
        for index, (name, found) in enumerate(zip(configs.names(lists), lists, strict=True))
    )
    averages = (g for g in groups if compare.setting(g.runs[0], "algorithm", "name") == "fedavg")
    notes = (*compared.notes, *cautions(groups))
    return Study(groups, next(averages, groups[0]), compared.target, notes)


def cautions(groups: Sequence[Group]) -> Iterator[str]:
    """Yield a sentence for each caution beyond those of `compare`."""
    for group in groups:
        seeds = [compare.setting(run, "run", "seed") for run in group.runs]
        if len(set(seeds)) < len(seeds):
            yield f"Beware: {group.name} has several runs with the same seed; they are not repeats."
    runs = [run for group in groups for run in group.runs]
    commits = {str(run.provenance.get("git_commit") or run.software_version) for run in runs}
    if len(commits) > 1:
        yield f"Beware: the runs come from {len(commits)} versions of the code (see Provenance)."


def center(values: Iterable[float]) -> float:
    """Return the mean of the finite numbers, NaN if there are none."""
    finite = [float(value) for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def spread(accuracies: Iterable[float]) -> str:
    """Return "mean ± standard deviation" of several numbers, a single number, or "-" for none."""
    finite, form = [value for value in accuracies if np.isfinite(value)], quantities.accuracy
    if len(finite) < 2:
        return form(finite[0]) if finite else "-"
    return f"{form(float(np.mean(finite)))} ± {form(float(np.std(finite, ddof=1)))}"
