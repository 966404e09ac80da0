"""The configurations of runs: group equal ones, list differences, and write TOML."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from fedmpi.analysis.compare import labels, schedule, setting
from fedmpi.record.reader import Run
from fedmpi.toml_text import inline, leaves

# Keys that do not define the experiment: runs that differ only in these are repeats.
FREE = (
    "run.name", "run.seed", "run.checkpoint_every", "run.checkpoint_share", "run.watch_s",
    "data.root",
)  # fmt: skip

DERIVED = ("clients.cohort",)  # keys of the values used that no configuration can set
EPOCHS = {"local_epochs", "local_steps"}  # without a value for either, a run takes one epoch


def alike(runs: Sequence[Run]) -> list[list[Run]]:
    """Return lists of Runs with equal configurations; the keys of FREE, such as seeds, may differ.

    A run that was resumed with another schedule is not grouped with an unbroken run. The lists, and
    the runs in each, keep the order of `runs`.
    """
    found: dict[str, list[Run]] = {}
    for run in runs:
        values = {key: value for key, value in leaves(run.config) if key not in FREE}
        values["schedule"] = schedule(run)
        found.setdefault(json.dumps(values, sort_keys=True), []).append(run)
    return list(found.values())


def grouped(runs: Sequence[Run], each: bool) -> tuple[list[list[Run]], list[str]]:
    """Return lists of Runs and their names: `each` run alone, or the runs of a configuration."""
    if each:
        return [[run] for run in runs], labels(runs)
    groups = alike(runs)
    return groups, names(groups)


def names(groups: Sequence[Sequence[Run]]) -> list[str]:
    """Return a name for each list of Runs of one configuration, all different.

    The name is run.name if this is unique to a list. Otherwise it is the common start of the file
    names, without a trailing "-seed" or "_s", or else the name of the first file.
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
    """Return the common start of file names: "fedlp" for fedlp-seed1 and fedlp-seed2."""
    if len(shorts) == 1:
        return shorts[0]
    return re.sub(r"([\W_]+(seed|s)[\W_]*\d*|[\W_]+)$", "", common_start(shorts))


def common_start(texts: Sequence[str]) -> str:
    """Return the longest start that all texts share."""
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    return "".join(letters[0] for letters in same)


def differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return {dotted key: [value of each Run]} for the keys in which Runs differ.

    None stands for a key that a run does not have or that has no value.
    """
    trees = [dict(leaves(run.config)) for run in runs]
    keys = dict.fromkeys(key for tree in trees for key in tree)
    values = {key: [tree.get(key) for tree in trees] for key in keys}
    return {key: found for key, found in values.items()
            if any(value != found[0] for value in found)}


def as_toml(tree: Mapping[str, Any]) -> str:
    """Return plain data (section -> key -> value) as TOML from which a run can be started.

    Keys without a value are left out. Keys of DERIVED become comments, as does the default of one
    epoch if neither epochs nor steps are given. Entries that are not sections, such as the list of
    stages, come first, since in TOML they would otherwise belong to the section before them.
    """
    parts = [f"{key} = {inline(value)}\n" for key, value in tree.items()
             if not isinstance(value, dict)]
    for section, keys in tree.items():
        if isinstance(keys, dict):
            lines = [f"{'# ' * (f'{section}.{key}' in DERIVED)}{key} = {inline(value)}\n"
                     for key, value in keys.items() if value is not None]
            if keys.keys() >= EPOCHS and not any(keys[key] for key in EPOCHS):
                lines.append("# local_epochs = 1\n")
            parts.append("".join([f"[{section}]\n", *lines]))
    return "\n".join(parts) or "\n"
