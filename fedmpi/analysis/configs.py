"""The configurations of runs: which are alike, where they differ, and as TOML."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from fedmpi.analysis.compare import labels, schedule, setting
from fedmpi.analysis.text_tables import flat
from fedmpi.record.reader import Run

# Keys that make no other experiment: runs that differ in these alone are repeats of one.
FREE = (
    "run.name", "run.seed", "run.checkpoint_every", "run.checkpoint_share", "run.watch_s",
    "data.root",
)  # fmt: skip

DERIVED = ("clients.cohort",)  # of the values used, those that no configuration can set
EPOCHS = {"local_epochs", "local_steps"}  # without a value for either, a run takes one epoch


def alike(runs: Sequence[Run]) -> list[list[Run]]:
    """Return lists of Runs, each of one configuration; seeds and the keys of FREE are no part.

    A run that was continued on another schedule than it began with is none with an unbroken run.
    Lists come in the order of their first runs, and so do the runs in them.
    """
    found: dict[str, list[Run]] = {}
    for run in runs:
        values = {key: value for key, value in flat(run.config) if key not in FREE}
        values["schedule"] = schedule(run)
        found.setdefault(json.dumps(values, sort_keys=True), []).append(run)
    return list(found.values())


def names(groups: Sequence[Sequence[Run]]) -> list[str]:
    """Return a name for each list of Runs of one configuration, all different.

    That is run.name where a list has one of its own; otherwise what the files' names have
    in common, a last "-seed" or "_s" aside; otherwise the first file's.
    """
    shown = iter(labels([run for group in groups for run in group]))
    files = [[next(shown) for _ in group] for group in groups]
    configured = [{setting(run, "run", "name") for run in group} for group in groups]
    chosen = []
    for number, (found, shorts) in enumerate(zip(configured, files, strict=True)):
        others = set().union(*configured[:number], *configured[number + 1 :])
        name = found.pop() if len(found) == 1 and not found & others else ""
        chosen.append(name if name not in ("", "-") else stem(shorts))
    for number, shorts in enumerate(files):
        if not chosen[number] or chosen.count(chosen[number]) > 1:
            chosen[number] = shorts[0]
    return [name if chosen.count(name) == 1 else f"{name} ({number})"
            for number, name in enumerate(chosen, 1)]


def stem(shorts: Sequence[str]) -> str:
    """Return what file names have in common: "fedlp" for fedlp-seed1 and fedlp-seed2."""
    if len(shorts) == 1:
        return shorts[0]
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*shorts, strict=False))
    start = "".join(letters[0] for letters in same)
    return re.sub(r"([\W_]+(seed|s)[\W_]*\d*|[\W_]+)$", "", start)


def differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return {dotted key: [value of each Run]} for the keys in which Runs differ.

    None stands for a key that a run does not have or that has no value.
    """
    trees = [dict(flat(run.config)) for run in runs]
    keys = dict.fromkeys(key for tree in trees for key in tree)
    values = {key: [tree.get(key) for tree in trees] for key in keys}
    return {key: found for key, found in values.items()
            if any(value != found[0] for value in found)}


def as_toml(tree: Mapping[str, Any]) -> str:
    """Return plain data (section -> key -> value) as TOML that a run can be started from.

    Keys without a value are left out; those of DERIVED are comments, and so is the epoch that a
    run takes if neither epochs nor steps are given. What is no section, such as the list of
    stages, comes first: in TOML it would otherwise belong to the section before it.
    """
    parts = [f"{key} = {_value(value)}\n" for key, value in tree.items()
             if not isinstance(value, dict)]
    for section, keys in tree.items():
        if isinstance(keys, dict):
            lines = [f"{'# ' * (f'{section}.{key}' in DERIVED)}{key} = {_value(value)}\n"
                     for key, value in keys.items() if value is not None]
            if keys.keys() >= EPOCHS and not any(keys[key] for key in EPOCHS):
                lines.append("# local_epochs = 1\n")
            parts.append("".join([f"[{section}]\n", *lines]))
    return "\n".join(parts) or "\n"


def _value(value: Any) -> str:
    """One TOML value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        pairs = (f"{k} = {_value(v)}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return repr(value)
