"""The reference of a configuration: each key with its type, default and meaning.

The command line, the manual and the JSON Schema for editors are made from this module. Types,
limits and defaults come from the sections themselves; only the meanings are written here.
"""

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from fedmpi.algorithm import Keys
from fedmpi.algorithms import ALGORITHMS
from fedmpi.config import Config
from fedmpi.errors import ConfigError, either, nearest, typed
from fedmpi.learn.data import DATASETS
from fedmpi.learn.models import MODELS
from fedmpi.learn.partitions import PARTITIONS
from fedmpi.registry import Registry
from fedmpi.section import Section, limit
from fedmpi.user_code import is_own

SCHEMA = "https://json-schema.org/draft/2020-12/schema"
COMMENT = re.compile(r"^ +(\w+): [^#\n]*#\s*(.+)$", re.MULTILINE)

FUNCTIONS: Mapping[str, Registry] = {
    "datasets": DATASETS, "partitions": PARTITIONS, "models": MODELS,
}
"""The registries of functions by the word that `fedmpi list` takes."""

MEANINGS = """
run.name              name of the run in tables, figures and progress
run.seed              seed of all random numbers
run.rounds            number of rounds
run.eval_every        rounds between two evaluations on the test data
run.own_models        clients whose own models an evaluation tests, at most
run.checkpoint_every  rounds between two checkpoints
run.checkpoint_share  share of the run time that checkpoints may take; 1: no limit
run.threads_per_rank  threads of each rank
run.device            processor that trains; 'auto' is 'cpu'
run.watch_s           seconds without a sign of life until a rank is reported; 0: never
run.engine            engine that trains; 'auto': 'batched' on GPUs, else by the model and the batch
run.chunk             clients that the batched engine trains at once; default: by the model
run.precision         arithmetic of the layers, in the batched engine
run.sum               'exact': the same bits on any number of ranks; 'fast': plain float32
run.train_twice       clients trained twice on every rank before round 0, to find differences
run.portable          instructions of x86-64-v3 only, for the same bits on newer processors
run.record_clients    clients of a round with a row in the file; 'sample': 1,000 at random
run.memory_mb         megabytes of clients' memories that a rank holds; the rest is on disk
data.name             data set, or package.module:object
data.root             folder of the data sets; default: $FEDMPI_DATA, then the user's cache
data.partition        how the samples are split over the clients
data.augment          'crop-flip': shift by up to 4 pixels and mirror images at random
clients.number        number of clients
clients.per_round     clients selected in a round; give this or fraction
clients.fraction      share of the clients selected in a round; default: all
clients.local_epochs  passes over a client's data in a round; default: 1
clients.local_steps   optimizer steps of a client in a round, in place of local_epochs
clients.batch_size    samples in a batch; 'all': all of a client's
clients.selection     rule that selects a round's clients, or package.module:object
clients.weighting     weight of a client in the mean: its samples, or the same for all
clients.max_rejected  share of a round's clients that may be rejected before the run fails
model.name            model, or package.module:object
model.adapter         adapters on a frozen model: kind, rank, alpha, targets, trained
model.base            .safetensors file with first weights of the model
model.frozen          patterns of parameters that are neither trained nor sent, such as 'base.*'
model.loss            loss that clients minimise, or package.module:object
model.metrics         further metrics of an evaluation, or package.module:object
optimizer.name        optimizer of the clients
optimizer.lr          learning rate of the clients
optimizer.momentum    momentum of the clients' SGD
optimizer.weight_decay  weight decay of the clients
optimizer.lr_decay    factor on the learning rate after each round
server.optimizer      optimizer of the server; 'average': the clients' mean is the new model
server.lr             learning rate of the server
server.momentum       momentum of the server's SGD
server.betas          decay rates of the server's first and second moment
server.epsilon        added to the root of the second moment
algorithm.name        method, or package.module:object
stage.name            stage of every message, or package.module:object; any number, in order
devices.profile       how devices are assigned to clients; see: fedmpi list devices
devices.gflop_s       speed of a client's device [GFLOP/s]
devices.availability  probability that a client can be selected in a round
devices.dropout       probability that a selected client is lost during the round
devices.trace         when clients can be selected: 'nights', 'on-off', or a trace file
devices.time_zones    time zones of the clients [h ahead of UTC], assigned in turn
devices.night_starts_h  hour at which nights begin, on average
devices.night_h       length of a night [h]
devices.night_spread_h  standard deviation of both [h]
devices.on_s          mean time that a client is present, with trace = 'on-off' [s]
devices.off_s         mean time that it is absent [s]
devices.bandwidth     CSV file of link speeds over time
devices.jitter        deviation of the logarithm of a factor on speeds, drawn for each round
devices.cell_clients  clients that share an uplink
devices.cell_mbit_s   speed of a shared uplink [Mbit/s]; default: no sharing
devices.policy        work of a device: the same for all, or by speed, deadline or memory
devices.knob          what a policy reduces: a key of the method, or local steps
devices.memory_mb     memory that a plan may need on a device [MB]; default: no limit
devices.power_w       power of a device that computes [W]
devices.idle_w        power of a device that receives or sends [W]
devices.joule_per_mb  energy of receiving or sending [J/MB]
devices.carbon_g_per_kwh  CO2 of the energy [g/kWh], or a CSV file of it over time
devices.recorded      contents of the trace file; fedmpi fills it in
devices.links         contents of the bandwidth file; fedmpi fills it in
devices.intensity     contents of the carbon file; fedmpi fills it in
devices.tiers         kinds of device: name, share, gflop_s, up_mbit_s, down_mbit_s, latency_s
network.up_mbit_s     speed from client to server [Mbit/s]
network.down_mbit_s   speed from server to client [Mbit/s]
network.latency_s     time before the first byte of a message [s]
network.codec         type of the values that clients send; 'auto': float32
schedule.mode         a round ends with all reports, at a deadline, or after some reports ('async')
schedule.deadline_s   maximum length of a round [virtual s]
schedule.over_select  factor on the number of clients selected
schedule.buffer_size  reports that end a round in mode 'async'; default: 10 or fewer
schedule.max_staleness  server steps after which a client's work is dropped
schedule.staleness_power  a report s steps old has the weight 1 / (1 + s)^staleness_power
collective.algorithm  collective that adds the sums of the ranks; 'node+': shared memory in a node
collective.overlap    start the sums while the last client still trains
"""


def meanings() -> dict[str, str]:
    """Return {"section.key": meaning} for every key that belongs to no method or data set."""
    return dict(line.split(maxsplit=1) for line in MEANINGS.strip().splitlines())


def keys_of(section: str | None = None) -> list[tuple[str, str, str, str]]:
    """Return rows (key, type and limits, default, meaning) of a section, or of all sections.

    Raises ConfigError for a section that does not exist.
    """
    names = list(Config.model_fields)
    if section is not None and section not in names:
        raise ConfigError(f"section {section!r}: unknown; {nearest(section, names)}")
    rows, tree, words = [], Config.model_json_schema(), meanings()
    for name in names if section is None else [section]:
        found = _target(tree, tree["properties"][name])
        rows += [(f"{name}.{key}", _type(tree, value), _default(value.get("default")),
                  words.get(f"{name}.{key}", ""))
                 for key, value in found["properties"].items()]
    return rows


def algorithm(name: str) -> tuple[str, list[tuple[str, str, str, str]]]:
    """Return the documentation of a method, and rows of its own keys as `keys_of` does.

    The documentation of own code, package.module:Class, is that of its class, where it has any.
    Raises ConfigError for a method that does not exist.
    """
    if not is_own(name) and name not in ALGORITHMS:
        raise ConfigError(f"algorithm {name!r}: unknown; {nearest(name, sorted(ALGORITHMS))}")
    cls = ALGORITHMS.find(name, "list algorithms") if is_own(name) else ALGORITHMS[name]
    tree = cls.Keys.model_json_schema()
    bases = [base for base in cls.Keys.__mro__ if issubclass(base, Section)]
    written = [base for base in bases if base not in (Section, Keys)]
    said = dict(pair for base in reversed(written)
                for pair in COMMENT.findall(_source(base)))
    rows = [(f"algorithm.{key}", _type(tree, value), _default(value.get("default")),
             said.get(key, "")) for key, value in tree.get("properties", {}).items()]
    about = cls.__doc__ if is_own(name) and cls.__doc__ else inspect.getdoc(inspect.getmodule(cls))
    return inspect.cleandoc(about or ""), rows


def function(kind: str, name: str) -> tuple[str, list[tuple[str, str, str, str]]]:
    """Return what is said of a data set, a partition or a model, and rows of its own keys.

    `kind` is "datasets", "partitions" or "models". The sentence on the keys stands in the text, so
    the rows have no meanings. Raises ConfigError for a name that does not exist.
    """
    found = FUNCTIONS[kind].find(name, f"list {kind}")
    section = FUNCTIONS[kind].key.partition(".")[0]
    tree = found.keys.model_json_schema() if found.keys else {}
    rows = [(f"{section}.{key}", _type(tree, value), _default(value.get("default")), "")
            for key, value in tree.get("properties", {}).items()]
    about = inspect.cleandoc(found.keys.__doc__ or "") if rows else ""
    return "\n\n".join(filter(None, [found.summary, about])), rows


def _source(cls: type[Any]) -> str:
    """Return the source of a class; "" where it has no file, as in a notebook."""
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):
        return ""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a configuration, for editors."""
    tree, words = Config.model_json_schema(), meanings()
    for name, value in tree["properties"].items():
        for key, found in _target(tree, value)["properties"].items():
            found["description"] = words[f"{name}.{key}"]
    return {"$schema": SCHEMA, "title": "fedmpi experiment"} | tree


def _target(tree: Mapping[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """Return what a reference of a JSON Schema points to, or the value itself.

    Of an array of sections it is the section.
    """
    reference = value.get("$ref") or value.get("items", {}).get("$ref")
    if not reference:
        return value
    found: dict[str, Any] = tree["$defs"][reference.rpartition("/")[2]]
    return found


def _type(tree: Mapping[str, Any], value: dict[str, Any]) -> str:
    """Return the type and the limits in a JSON Schema as words."""
    if "anyOf" in value:
        kinds = [_type(tree, one) for one in value["anyOf"] if one.get("type") != "null"]
        return either(kinds)
    value = _target(tree, value)
    if "enum" in value or "const" in value:
        return " | ".join(_default(one) for one in value.get("enum", [value.get("const")]))
    words = {"integer": "whole number", "number": "number", "string": "text",
             "boolean": "true | false", "array": "array", "object": "section"}
    limits = [f"{sign} {limit(value[key])}" for sign, key in (
        (">=", "minimum"), (">", "exclusiveMinimum"),
        ("<=", "maximum"), ("<", "exclusiveMaximum")) if key in value]
    return " ".join([words.get(value.get("type", ""), "value"), ", ".join(limits)]).strip()


def _default(value: object) -> str:
    """Return a value as messages show it, which is TOML; "-" for none."""
    return "-" if value is None else typed(value)


def manual() -> str:
    """Return docs/keys.md: a table of the keys for each section."""
    lines = ["# Keys", "", "`fedmpi list keys` prints this table.", ""]
    for section in Config.model_fields:
        head = f"[[{section}]]" if section == "stage" else f"[{section}]"
        lines += [f"## {head}", "", *_table(keys_of(section)), ""]
    return "\n".join(lines)


def built_in() -> list[str]:
    """Return the names of fedmpi's own methods, in order."""
    return sorted(name for name, cls in ALGORITHMS.items() if cls.__module__.startswith("fedmpi."))


def list_of_methods() -> str:
    """Return the end of docs/methods.md: fedmpi's methods with documentation and own keys."""
    lines = ["## List of methods", ""]
    for name in built_in():
        _, rows = algorithm(name)
        lines += [f"### {name}", "", "```{eval-rst}",
                  f".. automodule:: {ALGORITHMS[name].__module__}", "```", ""]
        lines += [*_table(rows), ""] if rows else []
    return "\n".join(lines[:-1]) + "\n"


def _table(rows: Iterable[tuple[str, str, str, str]]) -> list[str]:
    """Return keys as lines of a table."""
    lines = ["| key | type | default | meaning |", "|" + " --- |" * 4]
    for key, kind, default, meaning in rows:
        cells = (f"`{key}`", kind.replace("|", "\\|"), f"`{default}`", meaning)
        lines.append(f"| {' | '.join(cells)} |")
    return lines
