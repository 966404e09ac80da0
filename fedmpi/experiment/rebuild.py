"""The configuration of a run to resume, and its result file rebuilt from its checkpoint."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from fedmpi.arrays import AnyArray
from fedmpi.errors import ResultError, counted
from fedmpi.experiment.earlier import Earlier
from fedmpi.experiment.resolve import Resolved
from fedmpi.record import checkpoint, reader, schema
from fedmpi.record.checkpoint import Checkpoint
from fedmpi.record.paths import Out
from fedmpi.record.writer import Writer

MOST_RANKS = 1 << 20


def earlier(out: Out, rebuild: bool = False) -> Earlier:
    """Return the Earlier run of a result file `out`. Raises ResultError.

    If the file is damaged or gone, `rebuild` takes it from the last whole checkpoint.
    """
    try:
        with reader.open(out) as old:
            found = Earlier(old.toml, old.config, len(old.rounds), old.status == "finished")
            _read_all(old)
            return found
    except ResultError as error:
        saved = _newest(out)
        if saved is None:
            raise
        if not rebuild:
            raise ResultError(f"{error}\n{_offer(saved, out)}") from error
    origin = _origin(saved)
    done = saved.fact("next_round", int)
    return Earlier(origin["toml"], origin["values"], done, rebuild=True)


def rebuild(out: Out, resolved: Resolved, fixed: Mapping[str, Any]) -> str:
    """Rebuild the result file `out` from its last whole checkpoint; return a text on what it lacks.

    `fixed` holds the contents that follow from the configuration, as arguments of Writer.create. An
    existing file is kept as OUT.damaged. Raises ResultError.
    """
    if (saved := _newest(out)) is None:
        raise ResultError(f"{checkpoint.path_of(out)}: is damaged or gone since the start; put it "
                          "back, then try again")
    origin, round = _origin(saved), saved.fact("next_round", int)
    rows = _rows(saved, round, fixed["metrics"])
    if os.path.lexists(out):
        aside = Path(f"{out}.damaged")
        if aside.exists():
            raise ResultError(f"{aside}: exists already; move it away, then try again")
        os.replace(out, aside)
    Writer.create(
        out, **fixed, config_toml=origin["toml"], provenance=origin["provenance"], rows=rows,
        resolved=resolved.values(), ranks=origin["ranks"], created=saved.fact("run", str),
    )  # fmt: skip
    return (f"rebuilt from the checkpoint of round {round}: the rows of clients before it and all "
            "events are lost")


def _rows(saved: Checkpoint, round: int, metrics: Iterable[str]) -> dict[str, AnyArray]:
    """Return {path: rows} of the columns with a row for each of `round` rounds, or ResultError."""
    rows = {name: saved.column(name) for name in saved.columns}
    shapes = {name.split("/")[0]: array.shape for name, array in rows.items()}
    columns = [column for column in schema.APPENDED if column.group != "clients"]
    for column in columns:  # the checkpoint of an older fedmpi lacks later columns
        if column.path in schema.SINCE and column.path not in rows:
            rows[column.path] = np.full(shapes.get(column.group, 0), np.nan)
    wrong = {name for name, array in rows.items() if array.shape[:1] != (round,)}
    wanted = {column.path for column in (*columns, *map(schema.metric_column, metrics))}
    if wrong := wrong | (wanted ^ rows.keys()):
        raise ResultError(f"{saved.path}: its rows of {sorted(wrong)[0]} do not fit; it is damaged")
    return rows


def _newest(out: Out) -> Checkpoint | None:
    """Return the last whole checkpoint beside `out`, or None if there is none."""
    try:
        return checkpoint.newest(out)[0]
    except ResultError:
        return None


def _offer(saved: Checkpoint, out: Out) -> str:
    """Return a text: what a checkpoint holds, and how to rebuild the result file from it."""
    if not saved.columns:
        return f"{saved.path}: holds the weights, but no configuration: an older fedmpi wrote it"
    round = saved.fact("next_round", int)
    return (f"{saved.path}: holds the configuration, the weights after "
            f"{counted(round, 'round')} and what was measured in them; "
            f"fedmpi resume {quote(str(out))} --rebuild rebuilds the result from it")


def _origin(saved: Checkpoint) -> dict[str, Any]:
    """Return the facts in a checkpoint that a result file is created from. Raises ResultError."""
    origin: dict[str, Any] = saved.fact("result", dict)
    kinds = {"toml": str, "values": dict, "provenance": dict, "ranks": int}
    wrong = [name for name, kind in kinds.items() if type(origin.get(name)) is not kind]
    if wrong or not 0 < origin["ranks"] <= MOST_RANKS:
        raise ResultError(f"{saved.path}: damaged, its {(wrong or ['ranks'])[0]} is impossible")
    return origin


def _read_all(run: reader.Run) -> None:
    """Read all of a result file. Raises ResultError if it is damaged."""
    for table in (run.rounds, run.clients, run.phases, run.layers, run.devices):
        for name in table:
            table[name]
    run.provenance, run.events, run.partition  # noqa: B018
    if run.weights_sha256:
        run.model()
