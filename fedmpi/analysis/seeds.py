"""Runs grouped by configuration: mean and spread over seeds, and paired differences."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedmpi.analysis import quantities
from fedmpi.analysis.compare import evaluated, saving
from fedmpi.analysis.configs import alike, names
from fedmpi.record.reader import Run

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom, then the normal's.
STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
NORMAL = 1.96
MEASURES = ("rounds_to", "bytes_to", "seconds_to")


@dataclass(frozen=True)
class SeedSpread:
    """Values of several runs: number, mean and sample standard deviation (None for one run)."""

    count: int
    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "SeedSpread | None":
        """Return the SeedSpread of numbers, or None if there are none or one of them is None."""
        if not values or None in values:
            return None
        array = np.asarray(values, np.float64)
        deviation = float(array.std(ddof=1)) if len(array) > 1 else None
        return cls(len(array), float(array.mean()), deviation)


def rows(runs: Sequence[Run], target: float | None = None) -> list[dict[str, Any]]:
    """Return a dict for each configuration: name, runs, seeds, repeated, reached and SeedSpreads.

    `repeated` are the seeds that several runs have; the last of these counts in final_accuracy.

    final_accuracy, rounds_to, bytes_to and seconds_to are SeedSpreads or None; the last three are
    None unless all runs reach `target`. `difference` is (mean, half width of its 95 % interval)
    of the final accuracy against the first configuration, over the seeds that both have; None
    for the first, and with fewer than two common seeds.
    """
    groups, found = alike(runs), list[dict[str, Any]]()
    first = final_by_seed(groups[0]) if groups else {}
    for name, group in zip(names(groups), groups, strict=True):
        finals = final_by_seed(group)
        found.append({
            "name": name,
            "runs": len(group),
            "seeds": sorted(finals),
            "repeated": _repeated(group),
            "final_accuracy": SeedSpread.of(list(finals.values())),
            **_paid(group, target),
            "difference": paired(finals, first) if found else None,
        })
    return found


def _paid(group: Sequence[Run], target: float | None) -> dict[str, Any]:
    """Return the costs of the target in a group, as SeedSpreads, and how many runs reached it."""
    if target is None:
        return {"reached": None} | dict.fromkeys(MEASURES)
    values: dict[str, list[float | None]] = {
        "rounds_to": [run.rounds_to(target) for run in group],
        "bytes_to": [run.bytes_to(target) for run in group],
        "seconds_to": [run.time_to(target) for run in group],
    }
    reached = sum(value is not None for value in values["rounds_to"])
    return {"reached": reached} | {name: SeedSpread.of(value) for name, value in values.items()}


def final_by_seed(group: Sequence[Run]) -> dict[int, float]:
    """Return {seed: last test accuracy} of evaluated runs; of equal seeds the last run counts."""
    found = {}
    for run in group:
        accuracy = evaluated(run)
        if accuracy.size:
            found[seed_of(run)] = float(accuracy[-1])
    return found


def _repeated(group: Sequence[Run]) -> list[int]:
    """Return the seeds that more than one run of a group has."""
    counts = Counter(map(seed_of, group))
    return sorted(seed for seed, count in counts.items() if count > 1)


def seed_of(run: Run) -> int:
    """Return the seed of a run, 0 if its configuration has none."""
    values = run.config.get("run")
    seed = values.get("seed") if isinstance(values, dict) else None
    return seed if isinstance(seed, int) else 0


def paired(
    ours: Mapping[int, float], theirs: Mapping[int, float]
) -> tuple[float, float] | None:
    """Return (mean, half width) of ours - theirs over common seeds, at 95 % by Student's t."""
    seeds = sorted(set(ours) & set(theirs))
    spread = SeedSpread.of([ours[seed] - theirs[seed] for seed in seeds])
    if spread is None or spread.deviation is None:
        return None
    freedom = spread.count - 1
    quantile = STUDENT[freedom - 1] if freedom <= len(STUDENT) else NORMAL
    return spread.mean, quantile * spread.deviation / math.sqrt(spread.count)


def text(found: Sequence[Mapping[str, Any]], target: float | None = None) -> str:
    """Return the rows as a table: a line for each configuration."""
    first = quantities.shortened(found[0]["name"], quantities.BESIDE - len("against "))
    head = ["configuration", "runs", "final accuracy", f"against {first}"]
    head += [] if target is None else ["reached", "rounds", "sent", "saved", "virtual"]
    lines = [head]
    base = found[0]["bytes_to"]
    for row in found:
        cells = [row["name"], str(row["runs"]), _accuracy(row["final_accuracy"]),
                 _difference(row["difference"])]
        if target is not None:
            sent = row["bytes_to"]
            saved = saving(sent.mean, base.mean) if sent and base else None
            cells += [f"{row['reached']}/{row['runs']}",
                      *(_mean(row[name], show) for name, show in (
                          ("rounds_to", quantities.digits), ("bytes_to", quantities.in_bytes))),
                      quantities.share(saved), _mean(row["seconds_to"], quantities.in_seconds)]
        lines.append(cells)
    notes = ["", "final accuracy: mean ± standard deviation over runs; against: difference over",
             "equal seeds with its 95 % confidence interval"]
    if target is not None:
        notes.append(f"reached, rounds, sent, saved, virtual: to test accuracy {target:.6g}")
    for row in found:
        for seed in row["repeated"]:
            notes += quantities.paragraph(f"{row['name']}: more than one run has the seed {seed}; "
                                          "the final accuracy counts the last of them")
    right = set(range(1, len(head)))
    return "\n".join(quantities.columns(lines, right, quantities.WIDTH, joined={7}) + notes)


def _accuracy(spread: SeedSpread | None) -> str:
    if spread is None:
        return "-"
    return f"{spread.mean:.4f}" + ("" if spread.deviation is None else f" ± {spread.deviation:.4f}")


def _difference(difference: tuple[float, float] | None) -> str:
    return "-" if difference is None else f"{difference[0]:+.4f} ± {difference[1]:.4f}"


def _mean(spread: SeedSpread | None, show: Callable[[float], str]) -> str:
    return "-" if spread is None else show(spread.mean)
