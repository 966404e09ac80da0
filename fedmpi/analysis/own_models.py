"""Three scores of a run: the global model, the mean of clients' own models, and own models.

FedSkel's authors ran it in the framework of LG-FedAvg. As "new test" this reports the plain mean of
all clients' full models, tested on all test samples, and as "local test" each client's own model on
data with its own labels. It reports both at the best round, also for FedAvg, so the table here has
the best evaluation beside the last ones. If all clients have the global model, this is their mean.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedmpi.analysis import quantities
from fedmpi.record.reader import Run

LAST = 5  # a score is the mean of this many evaluations
SCORES = {
    "global": "test_accuracy",
    "mean of own": "own_mean_accuracy",
    "own labels": "local_accuracy",
}
HEAD = ("run", "saved", "score", "last", "best")


def scores(run: Run) -> dict[str, Any]:
    """Return a dict of a Run's scores and its "bytes".

    For each name of SCORES it holds {"last": the mean of the last LAST evaluations, "best": the
    best}, shares of 0 to 1, or None without an evaluation.
    """
    sent = run.rounds["bytes_down"].sum() + run.rounds["bytes_up"].sum()
    found: dict[str, Any] = {"bytes": int(sent)}
    whole = run.rounds["test_accuracy"]
    for name, column in SCORES.items():
        values = run.rounds[column] if column in run.rounds else np.full(len(whole), np.nan)
        values = (whole if np.isnan(values).all() else values)[~np.isnan(whole)]
        found[name] = None
        if values.size:
            found[name] = {"last": float(values[-LAST:].mean()), "best": float(values.max())}
    return found


def text(names: Sequence[str], found: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of scores, a line for each run and score; differences are to run 1."""
    rows, first = list[tuple[str, ...]]([HEAD]), found[0]
    for name, here in zip(names, found, strict=True):
        saved = quantities.share(1 - here["bytes"] / first["bytes"] if first["bytes"] else None)
        for number, score in enumerate(SCORES):
            cells = [_cell(here, first, score, of) for of in ("last", "best")]
            rows.append((*((name, saved) if number == 0 else ("", "")), score, *cells))
    lines = [f"accuracy in % as FedSkel's framework scores it (last: mean of {LAST} evaluations;",
             "best: the best one; saved: bytes; in brackets and saved: against the first run):"]
    return "\n".join(lines + quantities.columns(rows, {1, 3, 4}, quantities.WIDTH, joined={3, 4}))


def _cell(here: Mapping[str, Any], first: Mapping[str, Any], score: str, of: str) -> str:
    """Return a score in per cent, and its distance from the first run's."""
    if here[score] is None:
        return "-"
    shown = f"{100 * here[score][of]:.2f}"
    if here is first or first[score] is None:
        return shown
    return f"{shown} ({100 * (here[score][of] - first[score][of]):+.2f})"
