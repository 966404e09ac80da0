"""The arrays of a checkpoint, grouped by the part of the run that they belong to."""

import re
from collections.abc import Mapping

from fedmpi.arrays import AnyArray
from fedmpi.errors import ResultError
from fedmpi.record.checkpoint import Checkpoint

PARTS = r"(algorithm|selector|cohorts|stage/\d+)/(.+)"  # part of a run, name of the array


def by_name(parts: Mapping[str, Mapping[str, AnyArray]]) -> dict[str, AnyArray]:
    """Return the arrays of a run, {part: {name: array}}, as "part/name" -> array."""
    return {f"{part}/{name}": arrays[name] for part, arrays in parts.items() for name in arrays}


def by_part(kept: Checkpoint) -> dict[str, dict[str, AnyArray]]:
    """Return the arrays of a Checkpoint as {part: {name: array}}.

    "algorithm", "selector" and "cohorts" are included even if they have no arrays.

    Parts are "algorithm", "selector", "cohorts" and "stage/<number>". Raises ResultError for an
    array of another part.
    """
    parts: dict[str, dict[str, AnyArray]] = {"algorithm": {}, "selector": {}, "cohorts": {}}
    without_parts = "weights" in kept.arrays  # as version 0.1 wrote them
    for name, array in kept.arrays.items():
        found = re.fullmatch(PARTS, _renamed(name) if without_parts else name)
        if not found:
            raise ResultError(
                f"{kept.path}: array {name[:40]!r} belongs to no part that this version knows ("
                f"{', '.join(parts)}, stage/<number>); resume with the version that wrote it"
            )
        parts.setdefault(found[1], {})[found[2]] = array
    return parts


def _renamed(name: str) -> str:
    """Return the current "part/name" of an array in a checkpoint of version 0.1."""
    if name == "flights":
        return "cohorts/table"
    version = re.fullmatch(r"flights (\d+) (.+)", name)
    return f"cohorts/{version[1]}/{version[2]}" if version else f"algorithm/{name}"
