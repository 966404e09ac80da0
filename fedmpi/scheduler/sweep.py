"""A sweep: a base experiment, cases, a grid of values, and seeds; a result file for each point."""

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from fedmpi.config import parse
from fedmpi.errors import ConfigError, typed
from fedmpi.record.atomic import write_text
from fedmpi.scheduler.snapshot import of_sweep
from fedmpi.text_file import text_of
from fedmpi.toml_text import inline, leaves

MOST = 10_000  # points
_KEY = re.compile(r"stage|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")
_KNOWN = ("base", "seeds", "set", "grid", "cases")
Values: TypeAlias = dict[str, str]
"""Values as TOML text, by dotted key."""


@dataclass(frozen=True)
class Point:
    """One run of a sweep: its `name`, without .h5, and its values."""

    name: str
    values: Values

    @property
    def file(self) -> str:
        """The name of the result file."""
        return f"{self.name}.h5"

    def overrides(self) -> list[str]:
        """Return the "a.b=value" that make this point of the base experiment."""
        return [f"{key}={value}" for key, value in self.values.items()]


@dataclass(frozen=True)
class Sweep:
    """A sweep: the path `base` of its experiment, and all `points` in order."""

    base: Path
    points: tuple[Point, ...]


def read(path: str | PathLike[str]) -> Sweep:
    """Return the Sweep of the TOML file at `path`. Raises ConfigError."""
    tree = parse(text_of(path, "sweep's TOML"), str(path))
    for key in tree:
        if key not in _KNOWN:
            raise ConfigError(f"{path}: {key}: unknown key; known: {', '.join(_KNOWN)}")
    if not isinstance(tree.get("base"), str):
        raise ConfigError(f"{path}: base: must be the path of an experiment, relative "
                          "to this file")
    return Sweep(Path(path).absolute().parent / tree["base"], points(tree, str(path)))


def points(tree: Mapping[str, Any], place: str) -> tuple[Point, ...]:
    """Return the Points of a sweep's `tree`, seeds outermost, so more seeds only append points."""
    fixed = _flat(_table(tree, "set", place), place)
    seeds, cases, grid = _seeds(tree, place), _cases(tree, place), _grid(tree, place)
    count = len(seeds) * len(cases)
    for axis in grid.values():
        count *= len(axis)
    if count > MOST:
        raise ConfigError(f"{place}: {count} points, more than {MOST}; make several sweeps of it")
    found = [
        _point(case, dict(zip(grid, values, strict=True)), seed, fixed)
        for seed, case, values in itertools.product(seeds, cases, itertools.product(*grid.values()))
    ]
    return tuple(_distinct(found, place))


def table(points: Sequence[Point]) -> str:
    """Return the text of points.tsv: a line for each point, a column for each key, - if unset."""
    keys = list(dict.fromkeys(key for point in points for key in point.values))
    lines = [["file", *keys]]
    lines += [[point.file, *(point.values.get(key, "-") for key in keys)] for point in points]
    return "".join("\t".join(line) + "\n" for line in lines)


def write_table(folder: str | PathLike[str], points: Sequence[Point]) -> Path:
    """Write points.tsv into `folder` and return its path; an existing table may only grow.

    Queued jobs find their points by line number, so where jobs were submitted, new points may only
    be added at the end. Raises ConfigError if an old point has gone, or its line would change.
    """
    path, text = Path(folder) / "points.tsv", table(points)
    try:
        old = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        old = ""
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise ConfigError(f"{path}: {reason}; choose another folder") from None
    if not text.startswith(old):
        jobs = [row[1] for row in of_sweep(path.parent).submitted()]
        if jobs:
            raise ConfigError(
                f"{path}: holds another sweep, which its jobs may still read "
                f"({', '.join(dict.fromkeys(jobs[-3:]))}); choose another folder (more seeds may "
                "join a sweep)")
        if not _rows(old) <= _rows(text):
            raise ConfigError(
                f"{path}: holds points that this sweep lacks; no job reads it: move it away, or "
                "choose another folder (more points may join a sweep)")
    if text != old:
        write_text(path, text)
    return path


def _rows(text: str) -> set[frozenset[tuple[str, str]]]:
    """Return the points of a table as sets of (key, value), whatever the order of its columns."""
    head, *lines = text.splitlines() or [""]
    cells = (zip(head.split("\t"), line.split("\t"), strict=False) for line in lines)
    return {frozenset(cell for cell in row if cell[1] != "-") for row in cells}


def toml(value: object, place: str) -> str:
    """Return a value as one line of TOML. Raises ConfigError if points.tsv cannot hold it."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        toml(item, place)
    printable = isinstance(value, str) and value.isprintable()
    if not printable and not isinstance(value, int | float | list | dict):
        raise ConfigError(f"{place} = {typed(value)}: must be a number, true or false, or "
                          "printable text")
    return inline(value)


def _table(tree: Mapping[str, Any], key: str, place: str) -> dict[str, Any]:
    found = tree.get(key, {})
    if not isinstance(found, dict):
        raise ConfigError(f"{place}: {key}: must be a table, [{key}]")
    return found


def _leaves(tree: Mapping[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of nested tables. Raises ConfigError for a key of no section."""
    for key, value in leaves(tree):
        if not _KEY.fullmatch(key):
            raise ConfigError(f"{place}: {key}: must be a key such as optimizer.lr")
        yield key, value


def _flat(tree: Mapping[str, Any], place: str) -> Values:
    return {key: toml(value, f"{place}: {key}") for key, value in _leaves(tree, place)}


def _seeds(tree: Mapping[str, Any], place: str) -> Sequence[int | None]:
    seeds = tree.get("seeds", [])
    whole = isinstance(seeds, list) and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not whole or len(set(seeds)) < len(seeds):
        raise ConfigError(f"{place}: seeds: must be a list of different numbers, such as [0, 1, 2]")
    return seeds or [None]


def _cases(tree: Mapping[str, Any], place: str) -> list[tuple[str, Values]]:
    """Return the cases, named sets of values that belong together, as (name, values)."""
    cases = tree.get("cases", [])
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise ConfigError(f"{place}: cases: must be tables, each under [[cases]]")
    found: list[tuple[str, Values]] = []
    for case in cases:
        name = case.get("name")
        if not isinstance(name, str) or not name or name in dict(found):
            raise ConfigError(f"{place}: cases: name = {typed(name)}: each case needs a name of "
                              "its own")
        for key in _KNOWN:
            if key in case:
                raise ConfigError(f"{place}: cases: {name}: {key}: unknown key; write the values "
                                  "of a case in tables such as [cases.algorithm]")
        found.append((name, _flat({k: v for k, v in case.items() if k != "name"}, place)))
    return found or [("", {})]


def _grid(tree: Mapping[str, Any], place: str) -> dict[str, list[str]]:
    axes: dict[str, list[str]] = {}
    for key, values in _leaves(_table(tree, "grid", place), place):
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{place}: grid: {key}: must be a list of values")
        axes[key] = [toml(value, f"{place}: grid: {key}") for value in values]
        if len(set(axes[key])) < len(values):
            raise ConfigError(f"{place}: grid: {key}: a value appears twice")
    return axes


def _point(case: tuple[str, Values], grid: Values, seed: int | None, fixed: Values) -> Point:
    """Return the point of a case (name, values), one value for each axis, and a seed or None."""
    ends = [key.rpartition(".")[2] for key in grid]
    shown = [end if ends.count(end) == 1 else key for end, key in zip(ends, grid, strict=True)]
    said = [value.strip('"./[]{} ') for value in grid.values()]
    parts = [case[0], *(f"{key}={value}" for key, value in zip(shown, said, strict=True))]
    parts += [] if seed is None else [f"seed={seed}"]
    name = "_".join(re.sub(r"[^A-Za-z0-9.=+-]+", "-", part).strip("-.") for part in parts if part)
    values = fixed | case[1] | grid | ({} if seed is None else {"run.seed": str(seed)})
    name = name or "run"
    return Point(name, {"run.name": toml(name, "name")} | values)


def _distinct(found: Sequence[Point], place: str) -> Iterator[Point]:
    """Yield the points, with a digest in names that would name the same file or be too long."""
    count = Counter(point.name.lower() for point in found)
    files: set[str] = set()
    for point in found:
        if count[point.name.lower()] > 1 or len(point.name) > 150:
            digest = hashlib.sha256("\n".join(point.overrides()).encode()).hexdigest()[:8]
            point = Point(f"{point.name[:140]}_{digest}", point.values)
        if point.file.lower() in files:
            raise ConfigError(f"{place}: {point.name}: two points are the same run")
        files.add(point.file.lower())
        yield point
