"""The rows of a result file as text, and what the run is."""

import difflib
import json
import math
from dataclasses import asdict

import numpy as np

from fedmpi.analysis import quantities
from fedmpi.errors import ConfigError
from fedmpi.record import schema

BLOCK = 16_384  # rows that are objects of Python at a time
FORMATS = ("tsv", "csv", "json")


def table(run, *, clients=False, columns=None, format="tsv"):
    """Yield the lines of the table of rounds, or of clients, of a Run.

    columns: names in the wanted order, None for all. format: "tsv" or "csv" with a head, or
    "json", one list of objects, where NaN becomes null. Numbers read back to the same bits.
    Raises ConfigError for a column or format that does not exist.
    """
    if format not in FORMATS:
        raise ConfigError(f"format {format!r}: must be one of {', '.join(FORMATS)}")
    source = run.clients if clients else run.rounds
    names = check_columns(source, columns)
    columns = [source[name] for name in names]
    forms = [_status if clients and name == "status" else str for name in names]
    if format == "json":
        return _json_lines(names, _rows(columns, list(map(_in_json, columns, forms))))
    return _separated_lines(names, _rows(columns, forms), "\t" if format == "tsv" else ",")


def check_columns(source, columns):
    """Return the names of the columns to show; raises ConfigError with the nearest name."""
    if columns is None:
        return source.columns
    for name in columns:
        if name not in source:
            near = difflib.get_close_matches(name, source.columns, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(source.columns)}"
            raise ConfigError(f"column {name!r} does not exist; {hint}")
    if not columns:
        raise ConfigError(f"columns: none given; known are {', '.join(source.columns)}")
    return tuple(columns)


def _rows(columns, forms):
    """Yield the rows of columns as tuples of text; only those of a block are texts at a time."""
    for start in range(0, len(columns[0]), BLOCK):
        blocks = [column[start : start + BLOCK] for column in columns]
        yield from zip(*map(_values, blocks, forms), strict=True)


def _values(values, form):
    """Return an array as a list of texts; `form` is called once for each of its equal values."""
    bits, places = np.unique(values.view(f"u{values.itemsize}"), return_inverse=True)
    if 2 * len(bits) > len(values):
        return list(map(form, values.tolist()))
    return np.array(list(map(form, bits.view(values.dtype).tolist())), object)[places].tolist()


def _status(code):
    """Return the word of a status, or its number if the schema does not know it."""
    return dict(enumerate(schema.CLIENT_STATUS)).get(code, str(code))


def _in_json(column, form):
    """Return the function that gives a value of a column as JSON; `form` gives it as text."""
    if form is not str:
        return lambda value: json.dumps(form(value))
    if column.dtype.kind == "f":
        return lambda value: str(value) if math.isfinite(value) else "null"
    return str


def _separated_lines(names, rows, separator):
    yield separator.join(names)
    yield from map(separator.join, rows)


def _json_lines(names, rows):
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


def as_json(value, indent=2):
    """Return a value as JSON; dataclasses become objects, and NaN and infinity become null."""
    text = json.dumps(value, default=asdict)
    return json.dumps(json.loads(text, parse_constant=lambda _: None), indent=indent)


def info_text(run):
    """Return what the run is and where it stands, one line for each thing."""
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
            for name, value in flat(info)]
    rows += [(f"event after round {e['round']}", f"{e['kind']}: {e['text']}") for e in events]
    return "\n".join(quantities.columns(rows))


def core_names(numbers):
    """Return the core that each rank ran on in words: "core 0" is the first, "-" an unknown one."""
    numbers = numbers if isinstance(numbers, list) else [numbers]
    return ["-" if number == -1 else f"core {number}" for number in numbers]


def flat(tree, prefix=""):
    """Yield (dotted name, value) for all leaves of nested dicts."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _plain(value):
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return str(value).lower()  # as in TOML
    return "-" if value is None or value == "" else " ".join(str(value).split())
