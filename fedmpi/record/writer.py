"""Write the result file on rank 0: rounds are held in memory and written in atomic commits."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from shlex import quote
from time import perf_counter
from typing import Any

import h5py
import numpy as np

from fedmpi import __version__
from fedmpi.arrays import AnyArray
from fedmpi.errors import ResultError
from fedmpi.record import reader, schema, store
from fedmpi.record.atomic import replacement
from fedmpi.record.lock import check_free
from fedmpi.record.paths import Out
from fedmpi.record.rows import column_array, row_arrays

CALM = 200  # a commit waits for this many times the duration of the commit before it
PAUSE = 2.0  # least seconds between two commits
BUFFER = 1 << 25  # bytes of rows in memory that force a commit


def check_target(path: Out, overwrite: bool = False) -> str:
    """Raise ResultError if a result cannot be written to `path`; return its absolute path."""
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise ResultError(f"{path}: the folder {folder} does not exist; make it first")
    if os.path.isdir(path):
        raise ResultError(f"{path}: is a folder; name a file in it, such as {path}/out.h5")
    if os.path.exists(path) and not os.path.isfile(path):
        raise ResultError(f"{path}: is a device, pipe or socket; name a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ResultError(f"{path}: the folder {folder} cannot be written to; choose another")
    if os.path.exists(path):
        if not overwrite:
            check_free(path)
            raise ResultError(f"{path}: exists; choose another name or add --overwrite "
                              "(in Python: overwrite=True)")
        if os.path.getsize(path) and not h5py.is_hdf5(path):
            raise ResultError(f"{path}: exists and is not a result file, so it is not overwritten")
    return path


def check_schema(path: Out) -> None:
    """Raise ResultError unless new rounds can enter the result file at `path` as it is."""
    path = os.path.realpath(path)
    with reader.open(path) as run:
        version = run.schema
    if schema.is_newer(version):
        raise ResultError(f"{path}: has schema {version}, and this fedmpi writes {schema.VERSION}; "
                          "resume it with the fedmpi that wrote it, or a newer one")
    if version != schema.VERSION:
        raise ResultError(f"{path}: has schema {version}, new rounds need {schema.VERSION}; "
                          f"run: fedmpi upgrade {quote(path)}")


class Writer:
    """The result file of a run in progress. One process writes; any number may read."""

    def __init__(self, path: str, run: reader.Run) -> None:
        """Take over the file `path`, just read as `run`. Use `create` or `reopen` instead."""
        self.path = path
        self.rounds = len(run.rounds)  # complete rounds, in the file and in memory
        self._ranks = run.ranks
        self._layers = len(run.layer_names)
        self._width = run.phases.shape[1]
        self._last = int(run.rounds["round"][-1]) if self.rounds else -1
        self._mark: tuple[str, str, int] = (run.created, run.updated, self.rounds)
        self._metrics = [schema.metric_column(name) for name in run.metric_names]
        columns = *schema.APPENDED, *self._metrics
        self._rows: dict[str, list[AnyArray]] = {column.path: [] for column in columns}
        self._events: list[tuple[Any, ...]] = []
        self._bytes = 0
        self._cost = 0.0
        self.origin = {"toml": run.toml, "values": run.config, "provenance": run.provenance,
                       "ranks": self._width}  # contents of a file without rounds
        self._lock = threading.RLock()  # another thread may call `fail`
        self._since = perf_counter()

    @classmethod
    def create(
        cls, path: Out, *, config_toml: str, resolved: Mapping[str, Any],
        provenance: Mapping[str, Any], partition_counts: AnyArray, devices: Mapping[str, Any],
        layer_names: Sequence[str], ranks: int, metrics: Sequence[str] = (),
        overwrite: bool = False, created: str | None = None,
        rows: Mapping[str, AnyArray] | None = None,
    ) -> "Writer":
        """Write a file without rounds, or with the rounds of a resumed run; return its Writer.

        `config_toml` is the text as given, `resolved` and `provenance` are plain dicts,
        `partition_counts` is int[N, classes], `devices` {column: values [N]}, and `layer_names` [L]
        texts. `metrics` names the metrics of a round. `created` is the start of the run, by default
        now. `rows` holds {path: array [R, ...]} of the columns with a row for each round. Raises
        ResultError if `path` exists (without `overwrite`) or cannot be written.
        """
        path = check_target(path, overwrite)
        now, rows = utc_now(), rows or {}
        root = {
            "fedmpi_schema": schema.VERSION, "software_version": __version__, "status": "running",
            "rounds": len(rows.get("rounds/round", ())), "ranks": ranks,
            "created": created or now, "updated": now,
        }
        with guarded(path), replacement(path) as part, store.changed(part, new=True) as file:
            store.put_attributes(file, root)
            store.put_fixed(file, config_toml, resolved, partition_counts, layer_names)
            store.put_tree(file.create_group("provenance", track_order=True), provenance)
            store.put_devices(file.create_group("devices"), devices, len(partition_counts))
            store.put_empty(file, ranks, len(layer_names), metrics)
            for column, array in rows.items():
                store.extend(file[column], array)
        with reader.open(path) as run:
            return cls(path, run)

    @classmethod
    def reopen(
        cls, path: Out, rounds: int, ranks: int | None = None,
        resolved: Mapping[str, Any] | None = None, provenance: Mapping[str, Any] | None = None,
    ) -> "Writer":
        """Cut the file back to its first `rounds` rounds, and return a Writer that continues it.

        `ranks`, `resolved` (the values used) and `provenance` may differ from before. Rows of
        clients, phases and layers are cut to the same rounds, a final model is removed, and events
        stay. Raises ResultError if the file holds fewer rounds.
        """
        path = os.path.realpath(path)
        with reader.open(path) as run:
            held, ranks = len(run.rounds), ranks or run.ranks
        check_schema(path)
        if not 0 <= rounds <= held:
            raise ResultError(f"{path}: holds {held} rounds, so it cannot go on after "
                              f"{rounds}; resume it from its own checkpoint")
        root = {"status": "running", "rounds": rounds, "ranks": ranks, "updated": utc_now(),
                "software_version": __version__}
        with guarded(path), replacement(path, True) as part, store.changed(part) as file:
            store.cut(file, rounds, ranks)
            if resolved is not None:
                store.put_resolved(file, resolved)
            if provenance is not None:
                del file["provenance"]
                store.put_tree(file.create_group("provenance", track_order=True), provenance)
            store.put_attributes(file, root)
        with reader.open(path) as run:
            return cls(path, run)

    @property
    def created(self) -> str:
        """The start time of the run, as in the file, which identifies the run."""
        return self._mark[0]

    def append(
        self, row: Mapping[str, Any], clients: Any, phases: AnyArray, layers: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Add one finished round, which the next commit writes to the file.

        `row` is {column: number}, `clients` {column: values [K]} or a structured array, `phases`
        float64[phases, ranks] in the order of schema.PHASES, `layers` {column: values [L]}, and
        `metrics` {name: number}. If a column is missing, unknown or of the wrong kind, raises
        ResultError with its name, and adds nothing.
        """
        place = f"round {self.rounds}"
        single = row_arrays("rounds", row, place, ())
        single |= row_arrays("layers", layers, place, (self._layers,))
        single |= self._phase_arrays(phases, place)
        single |= self._metric_arrays(metrics or {}, place)
        new = {path: array[None] for path, array in single.items()}
        new |= row_arrays("clients", clients, place)
        number = int(single["rounds/round"])
        if number <= self._last:
            raise ResultError(f"{place}: its number {number} does not follow {self._last}")
        if np.any(new["clients/round"] != number):
            raise ResultError(f"{place}: clients.round must be {number} in all rows")
        with self._lock:
            for path, array in new.items():
                self._rows[path].append(array)
                self._bytes += array.nbytes
            self._last = number
            self.rounds += 1
        if self._bytes > BUFFER:
            self.commit()

    def event(self, kind: str, text: str) -> None:
        """Add an event; `kind` is one of those in the schema, `text` is one sentence."""
        self._events.append((utc_now(), self.rounds, kind, text))

    def commit_if_due(self) -> bool:
        """Commit if commits then take under about 0.5 % of the time; return True if it did."""
        due = perf_counter() - self._since >= max(PAUSE, CALM * self._cost)
        if due and (self._bytes or self._events):
            self.commit()
            return True
        return False

    def commit(self) -> None:
        """Write all rounds and events so far to the file."""
        self._commit({}, None, None)

    def finish(
        self, status: str, model: Mapping[str, AnyArray] | None = None,
        weights_sha256: str | None = None,
    ) -> None:
        """Commit with the final status ("stopped", "finished" or "failed") and the weights.

        `model` is {parameter: array} or None, and `weights_sha256` its digest.
        """
        if status not in schema.RUN_STATUS:
            allowed = ", ".join(schema.RUN_STATUS)
            raise ResultError(f"{self.path}: status {status!r} is not one of {allowed}")
        self._commit({"status": status}, model, weights_sha256)

    def fail(self, kind: str, text: str) -> None:
        """Commit all rounds so far with the status "failed" and an event with the reason."""
        with self._lock:
            self.event(kind, text)
            self.finish("failed")

    def _commit(
        self, root: dict[str, Any], model: Mapping[str, AnyArray] | None, sha256: str | None
    ) -> None:
        """Commit and set the root attributes `root`, while no other thread commits."""
        with self._lock:
            self._commit_alone(root, model, sha256)

    def _commit_alone(
        self, root: dict[str, Any], model: Mapping[str, AnyArray] | None, sha256: str | None
    ) -> None:
        """Write the pending rows and events to a copy of the file, and replace the file by it."""
        start, now = perf_counter(), utc_now()
        with (
            guarded(self.path),
            replacement(self.path, True) as part,
            store.changed(part) as file,
        ):
            self._check_mark(file)
            for path, arrays in self._rows.items():
                if arrays:
                    store.extend(file[path], np.concatenate(arrays))
            store.extend_events(file, self._events)
            if model is not None:
                store.put_model(file, model, sha256)
            store.put_attributes(file, {"rounds": self.rounds, "updated": now} | root)
        for arrays in self._rows.values():
            arrays.clear()
        self._events.clear()
        self._bytes = 0
        self._mark = (self._mark[0], now, self.rounds)
        self._since = perf_counter()
        self._cost = self._since - start

    def _check_mark(self, file: h5py.File) -> None:
        """Raise ResultError if another run has replaced the file since our last commit."""
        root = file.attrs
        found = root["created"].decode(), root["updated"].decode(), int(root["rounds"])
        if found != self._mark:
            raise ResultError(f"{self.path}: another run has written this file since round "
                              f"{self._mark[2]}; end one of the two")

    def _metric_arrays(self, metrics: Mapping[str, float], place: str) -> dict[str, AnyArray]:
        """Return {path: array} of a round's metrics, which must match those of the file."""
        if metrics.keys() != {column.name for column in self._metrics}:
            named = ", ".join(column.name for column in self._metrics) or "none"
            raise ResultError(f"{place}: metrics {', '.join(metrics)}: must be {named}")
        return {c.path: column_array(c, metrics[c.name], place) for c in self._metrics}

    def _phase_arrays(self, phases: AnyArray, place: str) -> dict[str, AnyArray]:
        """Return {path: array [ranks]} of a round's phases, NaN for ranks of an earlier start."""
        phases = column_array(schema.PHASE_COLUMNS[0], phases, place)
        expected = (len(schema.PHASES), self._ranks)
        if phases.shape != expected:
            raise ResultError(f"{place}: phases have shape {phases.shape}, must be {expected}")
        wide = np.full((len(schema.PHASES), self._width), np.nan)
        wide[:, : self._ranks] = phases
        return {f"phases/{name}": wide[i] for i, name in enumerate(schema.PHASES)}


def utc_now() -> str:
    """Return the current time as ISO 8601 in UTC, to the microsecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


@contextmanager
def guarded(path: Out) -> Iterator[None]:
    """Turn errors of the system or of HDF5 while `path` is written into a ResultError."""
    try:
        yield
    except FileNotFoundError as error:
        raise ResultError(f"{path}: is gone; it was moved or removed while in use") from error
    except (OSError, RuntimeError, LookupError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ResultError(f"{path}: cannot be written ({reason}); check space, quota and "
                          "rights. What it held before is unharmed") from error
