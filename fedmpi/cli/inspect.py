"""The verbs that inspect an experiment before it runs: check, partition, list."""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from fedmpi import user_code
from fedmpi.cli.kernel_cache import keep_kernels_on_node
from fedmpi.cli.machine import cache_folder, data_root
from fedmpi.cli.words import Verbs, add_set
from fedmpi.errors import ConfigError, MissingDataError, counted

if TYPE_CHECKING:
    from fedmpi.config import Config
    from fedmpi.experiment.resolve import Resolved
    from fedmpi.record.schema import Column

Rows: TypeAlias = list[tuple[str, str]]
"""Pairs of a name and its description."""


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs of this module to the parser."""
    from fedmpi.cli import verb

    parser = verb(verbs, check, "validate a configuration and print every value",
                  "fedmpi check exp.toml --set clients.number=50 --estimate")
    parser.add_argument("config", help="TOML file of the experiment")
    add_set(parser)
    parser.add_argument("--estimate", action="store_true",
                        help="also print bytes, FLOPs and memory of a rank")
    parser = verb(verbs, partition, "show which samples each client holds",
                  "fedmpi partition exp.toml -o partition.png")
    parser.add_argument("config", help="TOML file of the experiment")
    add_set(parser)
    parser.add_argument("-o", "--out", type=Path, help="draw it in this file: .png, .svg, .pdf")
    parser = verb(verbs, list_, "list keys, methods, models, data sets and other names",
                  "fedmpi list algorithms fedskel")
    parser.add_argument("what", choices=sorted(_LISTS), metavar="what",
                        help=", ".join(sorted(_LISTS)))
    parser.add_argument("name", nargs="?",
                        help="a section (after keys), or a method, data set, partition or model")
    parser.add_argument("--json-schema", action="store_true",
                        help="with keys: a JSON Schema of configurations, for editors")


def check(args: Namespace) -> None:
    """Validate a configuration and print every value used, as TOML.

    It refuses what `run` would refuse. If the files of the data set are missing, it warns that the
    split and the model were not checked.
    """
    keep_kernels_on_node(os.environ)
    from fedmpi.analysis.configs import as_toml
    from fedmpi.experiment import resolve

    resolved = resolve.read(args.config, args.overrides)
    _check_start(resolved)
    print(as_toml(resolved.values()), end="")
    if args.estimate:
        from fedmpi.experiment.estimate import estimate

        costs = estimate(resolved, _root(resolved), cache_folder())
        print("\n".join(["", "# estimate", *_costs(costs, resolved.config)]))


def _check_start(resolved: "Resolved") -> None:
    """Raise the errors that `run` would raise before training; if data are missing, only warn."""
    from fedmpi.comm.base import Serial
    from fedmpi.experiment.assemble import assemble
    from fedmpi.experiment.estimate import first_round
    from fedmpi.round.synchronous import Synchronous

    try:
        with user_code.exit_as_error():
            made = assemble(resolved, Serial(), _root(resolved), cache_folder(), environ=os.environ)
            first_round(made, Synchronous(made), most=100)
    except MissingDataError as error:
        print(f"fedmpi: warning: split and model were not checked: {error}", file=sys.stderr)


def _costs(costs: Mapping[str, Any], config: "Config") -> list[str]:
    """Return the estimated costs of an experiment as lines; supports are those of round 0."""
    from fedmpi.analysis.quantities import FLOPS, in_bytes, in_seconds, quantity

    rounds, down, up = config.run.rounds, costs["bytes_down"], costs["bytes_up"]
    return [
        f"# model              {counted(costs['parameters'], 'parameter')} in "
        f"{counted(costs['layers'], 'layer')}"
        + (f", {costs['frozen']:,} frozen ones" if costs["frozen"] else ""),
        f"# clients a round    {costs['clients']} of {config.clients.number:,}"
        + "".join(f", {costs[word]} {word}" for word in ("late", "dropped") if costs[word]),
        f"# down, a round      {in_bytes(down)}; {rounds} such rounds {in_bytes(rounds * down)}",
        f"# up, a round        {in_bytes(up)}; {rounds} such rounds {in_bytes(rounds * up)}",
        f"# training, a round  {quantity(costs['flops'], FLOPS)}"
        + "".join(f"; not counted: {text}" for text in costs["uncounted"]),
        f"# virtual, a round   {in_seconds(costs['virtual_seconds'])}",
        f"# memory of a rank   {in_bytes(costs['memory_of_a_rank'])}, Python and torch included; "
        f"{in_bytes(costs['memory_of_one_of_several'])} beside other ranks on a node",
        *_on_gpu(costs["memory_of_a_device"], in_bytes),
        f"# memory of the data {in_bytes(costs['memory_of_the_data'])}, once on each node",
    ]


def _on_gpu(needed: tuple[int, int] | None, in_bytes: Callable[[float], str]) -> list[str]:
    """Return the memory that a rank needs on a GPU as lines, none for other engines."""
    if needed is None:
        return []
    size, slots = needed
    return [f"# memory on a GPU    {in_bytes(size)} of a rank, for {slots} clients at once and "
            "its data; estimated on this processor"]


def partition(args: Namespace) -> None:
    """Show how the samples are spread over the clients, and draw it."""
    from fedmpi.analysis import partition_summary as summary
    from fedmpi.analysis.draw import figure_class
    from fedmpi.experiment import resolve
    from fedmpi.experiment.division import split_of

    if args.out:
        figure_class(str(args.out))  # refuse a bad file name before the table is printed
    resolved = resolve.read(args.config, args.overrides)
    dataset, split = split_of(resolved, _root(resolved), cache_folder())
    counts = split.counts(dataset.y_train, dataset.classes)
    print("\n".join(summary.text(counts)))
    if args.out:
        summary.draw(counts, str(args.out))
        print(f"drawn in {args.out}")


def list_(args: Namespace) -> None:
    """List what a configuration or a table can name, with the keys that each takes."""
    if args.json_schema or args.name:
        _reference(args)
        return
    rows_of, name = _LISTS[args.what]
    rows = rows_of(user_code.attribute(name))
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:<{width}}  {text}" for name, text in rows))


def _reference(args: Namespace) -> None:
    """Print the JSON Schema, the keys of a section, or a thing with its keys."""
    from fedmpi import reference

    if args.json_schema and args.what == "keys" and not args.name:
        print(json.dumps(reference.json_schema(), indent=1))
    elif args.name and args.what == "algorithms":
        text, rows = reference.algorithm(args.name)
        print("\n".join([text, "", *_lines_of_keys(rows)]))
    elif args.name and args.what in reference.FUNCTIONS:
        text, rows = reference.function(args.what, args.name)
        print("\n".join([text or args.name, "", *_lines_of_keys(rows)]))
    elif args.name and args.what == "keys":
        print("\n".join(_lines_of_keys(reference.keys_of(args.name))))
    else:
        raise ConfigError(f"list {args.what}: takes no name and no --json-schema; "
                          "use list keys [SECTION], list keys --json-schema, or a NAME after "
                          "algorithms, datasets, partitions or models")


def _lines_of_keys(rows: Iterable[tuple[str, str, str, str]]) -> list[str]:
    """Return keys as lines: name, default and type, and the meaning below them."""
    lines = []
    for key, kind, default, meaning in rows:
        lines.append(f"{key} = {default}   ({kind})")
        lines += [f"    {meaning}"] if meaning else []
    return lines or ["(no keys)"]


def _root(resolved: "Resolved") -> Path:
    return data_root(resolved.config.data.root)


def _classes(registry: Mapping[str, Any]) -> Rows:
    """Return the classes of a registry, as rows: the first line of each docstring, and the keys."""
    return [
        (name, _with_keys((cls.__doc__ or "").strip().split("\n")[0], cls.Keys.model_fields))
        for name, cls in sorted(registry.items())
    ]


def _functions(registry: Mapping[str, Any]) -> Rows:
    """Return the functions of a registry, as rows."""
    return [
        (name, _with_keys(entry.summary, entry.keys.model_fields))
        for name, entry in registry.items()
    ]


def _with_keys(text: str, keys: Iterable[str]) -> str:
    """Return the description `text`, with the keys that the thing adds to its section."""
    return f"{text} ({', '.join(keys)})" if keys else text


def _keys(keys_of: Callable[[], Iterable[tuple[str, str, str, str]]]) -> Rows:
    return [(f"{key} = {default}", meaning) for key, _, default, meaning in keys_of()]


def _losses(registry: Mapping[str, Any]) -> Rows:
    return [(name, f"{loss.summary} (data with {loss.target})") for name, loss in registry.items()]


def _metrics(registry: Mapping[str, Any]) -> Rows:
    return [
        (name, f"{(cls.__doc__ or '').partition('.')[0]} (data with {', '.join(cls.targets)})")
        for name, cls in registry.items()
    ]


def _profiles(profiles: Mapping[str, str]) -> Rows:
    return list(profiles.items())


def _columns(columns: Iterable["Column"]) -> Rows:
    return [(c.path, f"{c.meaning} [{c.unit}]" if c.unit else c.meaning) for c in columns]


# The lists: the function that makes rows, and the object listed, imported at its first use.
_LISTS: dict[str, tuple[Callable[[Any], Rows], str]] = {
    "keys": (_keys, "fedmpi.reference:keys_of"),
    "algorithms": (_classes, "fedmpi.algorithms:ALGORITHMS"),
    "models": (_functions, "fedmpi.learn.models:MODELS"),
    "losses": (_losses, "fedmpi.learn.losses:LOSSES"),
    "metrics": (_metrics, "fedmpi.learn.metrics:METRICS"),
    "datasets": (_functions, "fedmpi.learn.data:DATASETS"),
    "partitions": (_functions, "fedmpi.learn.partitions:PARTITIONS"),
    "selections": (_classes, "fedmpi.selectors:SELECTORS"),
    "stages": (_classes, "fedmpi.stages:STAGES"),
    "devices": (_profiles, "fedmpi.simulated:PROFILES"),
    "columns": (_columns, "fedmpi.record.schema:COLUMNS"),
}
