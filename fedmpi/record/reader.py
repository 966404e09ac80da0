"""Read result files, with numpy and h5py only, even while the run is still writing."""

import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from numbers import Real
from shlex import quote
from typing import Any

import numpy as np

from fedmpi.arrays import AnyArray, Reals
from fedmpi.errors import ResultError
from fedmpi.record import schema
from fedmpi.record.digest import weights_sha256
from fedmpi.record.heartbeat import Heartbeat, last_heartbeat
from fedmpi.record.source import Source, reading
from fedmpi.record.table import Table

DEPTH = 4  # most levels of nested groups under /provenance
JSON = 64  # most bytes that a character of JSON takes as Python objects


def open(path: str | os.PathLike[str]) -> "Run":
    """Open a result file for reading and return its Run.

    The Run shows the file as it is now; open the file again to see later rounds. Raises
    ResultError if the file is missing or damaged, no result file, or of another schema.
    """
    return Run(Source(path))


class Run:
    """One run as recorded in its result file. Columns are read on first use.

    `rounds`, `clients`, `phases`, `layers` and `devices` are Tables: `run.rounds.test_accuracy`
    is a numpy array, `run.rounds.to_pandas()` a data frame.
    """

    def __init__(self, source: Source) -> None:
        """Take over an open Source. Raises ResultError if it is not a complete result file."""
        self._source = source
        try:
            check_version(source)
            root = {c.name: source.attribute("", c.name, c.dtype != schema.TEXT)
                    for c in schema.ROOT}
            missing = [name for name, value in root.items() if value is None]
            if missing:
                raise ResultError(f"{source.path}: damaged, the root lacks {', '.join(missing)}")
            if root["status"] not in schema.RUN_STATUS:
                raise ResultError(f"{source.path}: damaged, status {root['status']!r} is not one "
                                  f"of {', '.join(schema.RUN_STATUS)}")
            self.path = source.path
            self.schema, self.software_version = root["fedmpi_schema"], root["software_version"]
            self.status, self.ranks = root["status"], root["ranks"]
            self.created, self.updated = root["created"], root["updated"]
            names = source.names("metrics") if source.has("metrics") else ()
            columns = schema.known(schema.ROUNDS, self.schema)
            if twice := {c.name for c in columns}.intersection(names):
                raise ResultError(f"{source.path}: damaged, /metrics has {', '.join(twice)}")
            self.metric_names = tuple(names)
            columns += tuple(map(schema.metric_column, names))
            self.rounds = Table(source, "rounds", columns, root["rounds"])
            self.clients = Table(source, "clients", schema.known(schema.CLIENTS, self.schema))
            columns = schema.known(schema.PHASE_COLUMNS, self.schema)
            self.phases = Table(source, "phases", columns, root["rounds"])
            self.layers = Table(source, "layers", schema.LAYERS, root["rounds"])
            for column in schema.EVENTS:  # a resumed run appends to these, so they must exist
                source.shape(column.path, column.dtype)
        except BaseException:
            source.close()
            raise

    def close(self) -> None:
        """Close the file; columns that have been read remain usable."""
        self._source.close()

    def __enter__(self) -> "Run":
        """Return the run itself; the file is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def __repr__(self) -> str:
        """Return one line: the file, its state and its rounds."""
        return f"<fedmpi run {self.path}: {self.status}, {len(self.rounds)} rounds>"

    @cached_property
    def toml(self) -> str:
        """The text of the configuration, as it was given."""
        return self._text("config/toml")

    @cached_property
    def config(self) -> dict[str, Any]:
        """All values of the configuration, defaults included, as a dict of sections."""
        with reading(self.path):
            text = self._text("config/resolved")
            self._source.charge(JSON * len(text), "config/resolved")
            config: dict[str, Any] = json.loads(text)
            if not isinstance(config, dict):
                raise ValueError("/config/resolved is not a JSON object")
            return config

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """The machine, software and data of the run, as a dict."""
        return plain(self._source.tree("provenance", DEPTH))

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """Resumes, warnings and the like: a list of dicts with time, round, kind and text."""
        columns = {c.name: self._source.read(c.path, c.dtype).tolist() for c in schema.EVENTS}
        if len({len(values) for values in columns.values()}) != 1:
            raise ResultError(f"{self.path}: damaged, the columns of /events differ in length")
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    @cached_property
    def partition(self) -> AnyArray:
        """int32[N, classes]: the number of samples of each client, by class."""
        return self._source.read("partition/counts", "<i4")

    @property
    def population(self) -> int:
        """The number of clients, N, found without reading a column."""
        return int(self._source.shape("partition/counts", "<i4")[0])

    @cached_property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers, in the order of the columns of `layers`."""
        return tuple(self._source.read("layers/names", schema.TEXT).tolist())

    @cached_property
    def devices(self) -> Table:
        """The devices of the clients, one row for each; the columns depend on the profile."""
        text, kept = schema.DEVICES, self._source.names("devices")
        columns = [schema.Column(f"devices/{n}", None, "[N]", *text.get(n, ("", ""))) for n in kept]
        return Table(self._source, "devices", columns)

    @cached_property
    def weights_sha256(self) -> str | None:
        """Digest of the final weights in hex, or None while there are no final weights."""
        digest: str | None = self._source.attribute("model", "sha256")
        return digest

    @property
    def heartbeat(self) -> Heartbeat | None:
        """The last sign of life of a run with the status "running", as of now, else None."""
        return last_heartbeat(self.path) if self.status == "running" else None

    def rows(self) -> Iterator[tuple[str, AnyArray]]:
        """Yield (path, array) of every column that has a row for each round."""
        for table in (self.rounds, self.phases, self.layers):
            for column in table.schema:
                yield column.path, self._source.read(column.path, column.dtype)

    def model(self) -> dict[str, AnyArray]:
        """Return the final weights, checked against their digest, as {parameter: array}."""
        if self.weights_sha256 is None:
            raise ResultError(f"{self.path}: holds no weights, its status is {self.status}; "
                              "they are written when the run finishes")
        arrays: dict[str, AnyArray] = self._source.tree("model", 1)
        if weights_sha256(arrays) != self.weights_sha256:
            raise ResultError(f"{self.path}: the weights differ from their sha256; damaged")
        return arrays

    def to_xarray(self) -> Any:
        """Return rounds, layers and phases as one xarray Dataset, the configuration as attributes.

        Variables of layers and phases are named "layers_kept", "phases_train" and so on.
        Raises ResultError if xarray is not installed.
        """
        whole = self.rounds.to_xarray()
        number = {"round": self.rounds["round"]}
        for name, table in (("layers", self.layers), ("phases", self.phases)):
            names = self.layer_names if name == "layers" else range(table.shape[-1])
            second = {"layer": list(names), "rank": list(names)}
            found = table.to_xarray(**number, **second)
            whole = whole.merge(found.rename({key: f"{name}_{key}" for key in found.data_vars}))
        return whole.assign_attrs(config=json.dumps(self.config), status=self.status)

    def rounds_to(self, target: float) -> int | None:
        """Return the number of rounds until a test accuracy of `target`, or None."""
        row = self._first(target)
        return None if row is None else row + 1

    def time_to(self, target: float) -> float | None:
        """Return the virtual seconds until a test accuracy of `target`, or None."""
        row = self._first(target)
        return None if row is None else float(self.rounds["virtual_time"][row])

    def bytes_to(self, target: float, direction: str = "both") -> int | None:
        """Return the bytes sent until a test accuracy of `target`, or None.

        direction is "up" (from clients), "down" (to clients) or "both".
        """
        columns = {"up": ["bytes_up"], "down": ["bytes_down"], "both": ["bytes_up", "bytes_down"]}
        if direction not in columns:
            raise ResultError(f"direction {direction!r} is not one of {', '.join(columns)}")
        row = self._first(target)
        if row is None:
            return None
        return sum(int(self.rounds[name][: row + 1].sum()) for name in columns[direction])

    def info(self) -> dict[str, Any]:
        """Return a summary of the run and its progress, as a dict that JSON can hold."""
        accuracy = self.rounds["test_accuracy"]
        accuracy = accuracy[~np.isnan(accuracy)]
        last = {name: float(self.rounds[name][-1]) if len(self.rounds) else 0.0
                for name in ("virtual_time", "wall_time")}
        heartbeat = self.heartbeat
        return {
            "path": self.path,
            "status": self.status,
            "alive": heartbeat.alive if heartbeat else None,
            "last_sign": heartbeat.text if heartbeat else None,
            "rounds": len(self.rounds),
            "ranks": self.ranks,
            "clients": self.population,
            "created": self.created,
            "updated": self.updated,
            "fedmpi_schema": self.schema,
            "software_version": self.software_version,
            "weights_sha256": self.weights_sha256,
            "final_accuracy": float(accuracy[-1]) if accuracy.size else None,
            "best_accuracy": float(accuracy.max()) if accuracy.size else None,
            **last,
            "bytes_down": int(self.rounds["bytes_down"].sum()),
            "bytes_up": int(self.rounds["bytes_up"].sum()),
            "memory_peak": self.memory_peak(),
            "busy": self.busy(),
            "phases": self.shares(),
            "events": self.events,
            "provenance": self.provenance,
            "config": self.config,
        }

    def seconds_of_ranks(self) -> dict[str, Reals]:
        """Return the measured seconds of each phase, summed over the rounds, float64[ranks].

        Values that were not measured count as 0: `move` in files of schema 1.5 and earlier, which
        have it in `train`, and the rounds before a rank took part.
        """
        known, none = set(self.phases), np.zeros((1, self.phases.shape[1]))
        with reading(self.path):
            return {name: np.nansum(self.phases[name] if name in known else none, axis=0)
                    for name in schema.PHASES}

    def shares(self) -> dict[str, float | None]:
        """Return each phase's share of the measured time of rank 0, which writes the files."""
        seconds = {name: float(row[0]) for name, row in self.seconds_of_ranks().items()}
        total = sum(seconds.values())
        if not 0 < total < np.inf:
            return dict.fromkeys(seconds)
        return {name: round(value / total, 4) for name, value in seconds.items()}

    def busy(self) -> float | None:
        """Return the share of all ranks' measured time that was spent on training, or None."""
        seconds = {name: float(row.sum()) for name, row in self.seconds_of_ranks().items()}
        total = sum(seconds.values())
        return round(seconds["train"] / total, 4) if 0 < total < np.inf else None

    def memory_peak(self) -> int | None:
        """Return the most bytes of memory that any rank has used, or None if not recorded."""
        peaks = self.rounds["memory_peak"] if "memory_peak" in self.rounds else np.zeros(0)
        peaks = peaks[np.isfinite(peaks)]
        return int(peaks.max()) if peaks.size else None

    def _first(self, target: float) -> int | None:
        """Return the first row whose test accuracy is at least `target`, or None."""
        if not (isinstance(target, Real) and 0 <= target <= 1):
            raise ResultError(f"target {target!r}: accuracies are from 0 to 1; 60 % is 0.60")
        rows = np.flatnonzero(self.rounds["test_accuracy"] >= target)
        return int(rows[0]) if rows.size else None

    def _text(self, path: str) -> str:
        return str(self._source.read(path, schema.TEXT).item())


def plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dicts of arrays with each array replaced by a list or a single value."""
    return {k: plain(v) if isinstance(v, dict) else v.tolist() for k, v in tree.items()}


def check_version(source: Source) -> None:
    """Raise ResultError unless this reader knows the schema of the file of `source`."""
    found = source.attribute("", "fedmpi_schema")
    if found is None:
        raise ResultError(f"{source.path}: is HDF5, but not a result of fedmpi (no fedmpi_schema)")
    ours, first = int(schema.VERSION.partition(".")[0]), found.partition(".")[0]
    if not (first.isascii() and first.isdigit() and len(first) < 6):
        raise ResultError(f"{source.path}: damaged, fedmpi_schema is {found[:20]!r}")
    if int(first) > ours:
        raise ResultError(f"{source.path}: has schema {found}, this fedmpi reads up to {ours}.x; "
                          "install a newer fedmpi")
    if int(first) < ours:
        raise ResultError(f"{source.path}: has the old schema {found}; "
                          f"run: fedmpi upgrade {quote(source.path)}")
