"""Compare what several runs paid for the same accuracy."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedmpi.analysis import quantities
from fedmpi.arrays import Reals
from fedmpi.errors import ConfigError, counted, listed
from fedmpi.record.reader import Run


@dataclass(frozen=True)
class Comparison:
    """Several runs at one target accuracy.

    rows: a dict for each run with run, algorithm, status, rounds, final_accuracy,
    best_accuracy, rounds_to, bytes_up_to, bytes_down_to, bytes_to, seconds_to, bytes_saved,
    seconds_saved (shares of the first run's). A value is None if the target was not reached.
    """

    target: float | None
    notes: tuple[str, ...]  # sentences: the origin of the target, and cautions
    rows: tuple[dict[str, Any], ...]

    def text(self) -> str:
        """Return the notes and two tables: how accurate the runs are, and what they paid."""
        accuracy, share = quantities.accuracy, quantities.share
        rows = [("run", "algorithm", "status", "rounds", "final", "best")]
        rows += [
            (r["run"], r["algorithm"], r["status"], str(r["rounds"]),
             accuracy(r["final_accuracy"]), accuracy(r["best_accuracy"]))
            for r in self.rows
        ]
        lines = quantities.columns(rows, {3, 4, 5}, quantities.WIDTH)
        if self.target is not None:
            head = ("run", "rounds", "up", "down", "up+down", "saved", "virtual", "saved")
            rows = [head] + [
                (r["run"], "-" if r["rounds_to"] is None else str(r["rounds_to"]),
                 *(quantities.in_bytes(r[name]) for name in BYTES),
                 share(r["bytes_saved"]), quantities.in_seconds(r["seconds_to"]),
                 share(r["seconds_saved"]))
                for r in self.rows
            ]
            first = self.rows[0]["run"]
            lines += ["", f"to test accuracy {self.target:.6g} (saved: against {first}):"]
            right = set(range(1, len(head)))
            lines += quantities.columns(rows, right, quantities.WIDTH, joined={5, 7})
        return "\n".join([*lines, *self.remarks()])

    def remarks(self) -> list[str]:
        """Return the notes as lines after an empty line, or [] if there are none."""
        lines = [line for note in self.notes for line in quantities.paragraph(note)]
        return ["", *lines] if lines else []


BYTES = ("bytes_up_to", "bytes_down_to", "bytes_to")
PAID = ("rounds_to", *BYTES, "seconds_to")
NO_ACCURACY = ("no run has a round with a test accuracy. Losses and metrics: see the report, and "
               "the columns of fedmpi table.")
MOST_NAMED = 4  # unfinished runs in a caution


def compare(runs: Sequence[Run], target: float | None = None) -> Comparison:
    """Return the Comparison of Runs; with target None, at the highest accuracy that all reach.

    Raises ConfigError for a target outside 0 to 1, or without runs.
    """
    if not runs:
        raise ConfigError("compare: needs at least one result file")
    if target is not None and not 0 < target <= 1:
        raise ConfigError(f"target {target:g}: must be above 0 and at most 1, such as 0.80")
    notes = list(cautions(runs))
    if target is None:
        target, note = common_target(runs)
        notes.insert(0, note)
    rows = [row(run, label, target) for run, label in zip(runs, labels(runs), strict=True)]
    for name in ("bytes", "seconds"):
        first = rows[0][f"{name}_to"]
        for r in rows:
            r[f"{name}_saved"] = saving(r[f"{name}_to"], first)
    return Comparison(target, tuple(notes), tuple(rows))


def row(run: Run, label: str, target: float | None) -> dict[str, Any]:
    """Return the row of one run, without its savings."""
    found = evaluated(run)
    return {
        "run": label,
        "algorithm": setting(run, "algorithm", "name"),
        "status": run.status,
        "rounds": len(run.rounds),
        "final_accuracy": float(found[-1]) if found.size else None,
        "best_accuracy": float(found.max()) if found.size else None,
        **(dict.fromkeys(PAID) if target is None else paid(run, target)),
    }


def paid(run: Run, target: float) -> dict[str, float | None]:
    """Return {name of PAID: cost of the target accuracy}, None if the run did not reach it."""
    found = (run.rounds_to(target), run.bytes_to(target, "up"), run.bytes_to(target, "down"),
             run.bytes_to(target), run.time_to(target))
    return dict(zip(PAID, found, strict=True))


def evaluated(run: Run) -> Reals:
    """Return the test accuracies of the rounds with an evaluation."""
    accuracy: Reals = run.rounds["test_accuracy"]
    return accuracy[~np.isnan(accuracy)]


def common_target(runs: Sequence[Run]) -> tuple[float | None, str]:
    """Return the highest accuracy that all runs reach, cut to four decimals, and a sentence on it.

    A run that failed or was stopped before its first test does not count.
    """
    begun = [(evaluated(run), name) for run, name in zip(runs, labels(runs), strict=True)
             if evaluated(run).size or run.status == "finished"]
    if not any(accuracy.size for accuracy, _ in begun):
        return None, f"No target: {NO_ACCURACY}"
    lowest, name = min((float(accuracy.max(initial=-1)), name) for accuracy, name in begun)
    if lowest <= 0:
        return None, f"No target: {name} has no round with a test accuracy above 0."
    if lowest <= (most := max(map(chance, runs))):
        return None, (f"No target: {name} reaches {lowest:.4f}, no more than a model that always "
                      f"names the most frequent class ({most:.4f}); choose one with --target.")
    target = min(float(lowest), math.floor(lowest * 10000) / 10000) or float(lowest)
    who = "the run reaches" if len(runs) == 1 else "all runs reach"
    if len(begun) < len(runs):
        who = "all runs with a test reach"
    return target, f"The target is the highest accuracy that {who}; choose one with --target."


def chance(run: Run) -> float:
    """Return the share of the most frequent class in the training data; 0 if it is not known."""
    counts = run.partition.sum(axis=0, dtype=np.int64)
    if counts.size == 1:  # samples drawn on demand, whose classes are not counted
        return 0.0
    return float(counts.max(initial=0) / max(counts.sum(), 1))


def cautions(runs: Sequence[Run]) -> Iterator[str]:
    """Yield a sentence for each fact that makes the runs hard to compare."""
    for section, key in (("data", "name"), ("data", "partition"), ("model", "name")):
        found = dict.fromkeys(setting(run, section, key) for run in runs)
        if len(found) > 1:
            yield f"Beware: the runs differ in {section}.{key}: {', '.join(found)}."
    for run, label in zip(runs, labels(runs), strict=True):
        if parts := schedule(run):
            yield (f"Beware: {label} has a schedule over the rounds, which was "
                   f"{', then '.join(parts)} and changed there; an unbroken run is a different "
                   "experiment.")
    ended = {"running": "running or killed"}
    unfinished = [f"{label} ({ended.get(run.status, run.status)}, {progress(run)})"
                  for run, label in zip(runs, labels(runs), strict=True)
                  if run.status != "finished"]
    if unfinished:
        yield ("Beware: unfinished runs count as far as they got: "
               f"{listed(unfinished, MOST_NAMED)}.")


def progress(run: Run) -> str:
    """Return the rounds that a run has done, such as "3 of 40 rounds"."""
    done, planned = len(run.rounds), setting(run, "run", "rounds", "")
    return f"{done} of {planned} rounds" if planned.isdecimal() else counted(done, "round")


def setting(run: Run, section: str, key: str, otherwise: str = "-") -> str:
    """Return one configured value as text, or `otherwise` if the result file has none."""
    values = run.config.get(section)
    return str(values.get(key, otherwise)) if isinstance(values, dict) else otherwise


def schedule(run: Run) -> list[str]:
    """Return the schedules that a run followed before its last one, in words; [] for most runs."""
    kept = run.provenance.get("schedule", [])
    return list(map(str, kept)) if isinstance(kept, list) else []


def saving(value: float | None, first: float | None) -> float | None:
    """Return the share of `first` that `value` saves (negative: costs more), None if unknown."""
    return None if value is None or not first else 1 - value / first


def labels(runs: Sequence[Run]) -> list[str]:
    """Return a short name for each run: its file's name, with enough folders to be unique.

    File names keep their endings if they differ only in these.
    """
    names: list[str] = []
    paths = [os.path.abspath(run.path) for run in runs]
    stems = [os.path.splitext(path)[0] for path in paths]
    shown = stems if len(set(stems)) == len(set(paths)) else paths
    parts = [path.split(os.sep) for path in shown]
    for depth in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(set(paths)):
            break
    return names
