"""The rows of a result file as text, and what the run is."""

import difflib
import json
import math
from dataclasses import asdict

from fedmpi.analysis import quantities
from fedmpi.errors import ConfigError
from fedmpi.record import schema

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
    values = [source[name].tolist() for name in names]
    if clients and "status" in names:
        words = dict(enumerate(schema.CLIENT_STATUS))
        place = names.index("status")
        values[place] = [words.get(code, str(code)) for code in values[place]]
    rows = zip(*values, strict=True)
    if format == "json":
        return _json_lines(names, rows)
    separator = "\t" if format == "tsv" else ","
    return _separated_lines(names, rows, separator)


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


def _separated_lines(names, rows, separator):
    yield separator.join(names)
    for row in rows:
        yield separator.join(map(str, row))


def _json_lines(names, rows):
    line = None
    yield "["
    for row in rows:
        if line:
            yield line + ","
        finite = [None if isinstance(v, float) and not math.isfinite(v) else v for v in row]
        line = json.dumps(dict(zip(names, finite, strict=True)))
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
    }
    events = info.pop("events")
    rows = [(name, shown[name](value) if name in shown else _plain(value))
            for name, value in flat(info)]
    rows += [(f"event after round {e['round']}", f"{e['kind']}: {e['text']}") for e in events]
    return "\n".join(quantities.columns(rows))


def flat(tree, prefix=""):
    """Yield (dotted name, value) for all leaves of nested dicts."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _plain(value):
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None or value == "" else " ".join(str(value).split())
