"""The rows of a result file, and a summary of its run, as text."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np

from fedmpi.analysis import quantities
from fedmpi.arrays import AnyArray
from fedmpi.errors import ConfigError, nearest
from fedmpi.record import schema
from fedmpi.record.reader import Run
from fedmpi.record.table import Table
from fedmpi.toml_text import leaves

BLOCK = 16_384  # rows converted to Python objects at a time
FORMATS = ("tsv", "csv", "json")
Form: TypeAlias = Callable[[Any], str]
"""A function that formats a value of a column."""


def table(
    run: Run, *, clients: bool = False, columns: Sequence[str] | None = None, format: str = "tsv"
) -> Iterator[str]:
    """Yield the lines of the table of rounds, or of clients, of a Run.

    `columns` holds names in the wanted order, None for all. `format` is "tsv" or "csv" with a head,
    or "json", a list of objects in which NaN becomes null. Numbers read back to the same bits.
    Raises ConfigError for a column or format that does not exist.
    """
    if format not in FORMATS:
        raise ConfigError(f"format {format!r}: must be one of {', '.join(FORMATS)}")
    source = run.clients if clients else run.rounds
    names = check_columns(source, columns)
    found = [source[name] for name in names]
    forms: list[Form] = [_status if clients and name == "status" else str for name in names]
    if format == "json":
        return _json_lines(names, _rows(found, list(map(_in_json, found, forms))))
    return _separated_lines(names, _rows(found, forms), "\t" if format == "tsv" else ",")


def check_columns(source: Table, columns: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the columns to show. Raises ConfigError, with the nearest name."""
    if columns is None:
        return source.columns
    for place, name in enumerate(columns):
        if name not in source:
            raise ConfigError(f"column {name!r} does not exist; {nearest(name, source.columns)}")
        if name in columns[:place]:
            raise ConfigError(f"column {name!r} is named twice")
    if not columns:
        raise ConfigError(f"columns: none given; known: {', '.join(source.columns)}")
    return tuple(columns)


def _rows(columns: Sequence[AnyArray], forms: Sequence[Form]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of columns as tuples of text, converted BLOCK rows at a time."""
    for start in range(0, len(columns[0]), BLOCK):
        blocks = [column[start : start + BLOCK] for column in columns]
        yield from zip(*map(_values, blocks, forms), strict=True)


def _values(values: AnyArray, form: Form) -> list[str]:
    """Return an array as a list of texts; `form` is called once for equal values."""
    bits, places = np.unique(values.view(f"u{values.itemsize}"), return_inverse=True)
    if 2 * len(bits) > len(values):
        return list(map(form, values.tolist()))
    texts = list(map(form, bits.view(values.dtype).tolist()))
    return [texts[place] for place in places.tolist()]


def _status(code: int) -> str:
    """Return the word of a status, or its number if the schema does not know it."""
    return dict(enumerate(schema.CLIENT_STATUS)).get(code, str(code))


def _in_json(column: AnyArray, form: Form) -> Form:
    """Return the function that formats a column's values as JSON; `form` formats them as text."""
    if form is not str:
        return lambda value: json.dumps(form(value))
    if column.dtype.kind == "f":
        return lambda value: str(value) if math.isfinite(value) else "null"
    return str


def _separated_lines(
    names: Sequence[str], rows: Iterable[tuple[str, ...]], separator: str
) -> Iterator[str]:
    yield separator.join(names)
    yield from map(separator.join, rows)


def _json_lines(names: Sequence[str], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    pairs = ", ".join(json.dumps(name).replace("%", "%%") + ": %s" for name in names)
    form, line = "{" + pairs + "}", ""
    yield "["
    for row in rows:
        if line:
            yield line + ","
        line = form % row
    if line:
        yield line
    yield "]"


def as_json(value: Any, indent: int = 2) -> str:
    """Return a value as JSON; dataclasses become objects, and NaN and infinity become null."""
    text = json.dumps(value, default=asdict)
    return json.dumps(json.loads(text, parse_constant=lambda _: None), indent=indent)


def info_text(run: Run) -> str:
    """Return the facts and the status of a run, one line for each."""
    info = run.info()
    shown = {
        "virtual_time": quantities.in_seconds,
        "wall_time": quantities.in_seconds,
        "bytes_down": quantities.in_bytes,
        "bytes_up": quantities.in_bytes,
        "final_accuracy": quantities.accuracy,
        "best_accuracy": quantities.accuracy,
        "memory_peak": quantities.in_bytes,
        "busy": quantities.share,
        "provenance.cores": lambda numbers: _plain(core_names(numbers)),
    } | {f"phases.{name}": quantities.share for name in info["phases"]}
    events = info.pop("events")
    rows = [(name, shown[name](value) if name in shown else _plain(value))
            for name, value in leaves(info)]
    rows += [(f"event after round {e['round']}", f"{e['kind']}: {e['text']}") for e in events]
    return "\n".join(quantities.columns(rows))


def core_names(numbers: int | list[int]) -> list[str]:
    """Return the name of each rank's core: "core 0" is the first, "-" is unknown."""
    numbers = numbers if isinstance(numbers, list) else [numbers]
    return ["-" if number == -1 else f"core {number}" for number in numbers]


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return str(value).lower()  # as in TOML
    return "-" if value is None or value == "" else " ".join(str(value).split())
