"""From a Config to the things it names, with their own keys checked. Needs no torch and no MPI."""

import copy
from dataclasses import dataclass
from inspect import isfunction
from pathlib import Path, PurePath

import numpy as np

from fedmpi import config as configuration
from fedmpi import named
from fedmpi.algorithm import Algorithm, Keys
from fedmpi.algorithms import ALGORITHMS
from fedmpi.errors import ConfigError, either
from fedmpi.learn.data import DATASETS
from fedmpi.learn.losses import LOSSES, Loss
from fedmpi.learn.metrics import METRICS, column_of
from fedmpi.learn.models import options_of
from fedmpi.learn.partitions import PARTITIONS
from fedmpi.metric import Metric
from fedmpi.record.schema import ROUNDS
from fedmpi.section import Section, check
from fedmpi.selectors import SELECTORS, Selector
from fedmpi.stages import STAGES, Stage
from fedmpi.text_file import LONGEST, text_of
from fedmpi.world.profile import devices_in
from fedmpi.world.series import CARBON, LINKS, series_in
from fedmpi.world.traces import rows_in

LONGEST_TRACE = 200_000_000
HELD = {  # where the contents of a file of [devices] are kept
    "profile": "tiers",
    "trace": "recorded",
    "bandwidth": "links",
    "carbon_g_per_kwh": "intensity",
}
READERS = {
    "profile": devices_in,
    "trace": rows_in,
    "bandwidth": lambda text, place: series_in(text, place, LINKS),
    "carbon_g_per_kwh": lambda text, place: series_in(text, place, CARBON),
}
# What may differ in a resumed run; everything else is built into its state.
CHANGEABLE = (
    "run.rounds",
    "run.eval_every",
    "run.own_models",
    "run.checkpoint_every",
    "run.checkpoint_share",
    "run.threads_per_rank",
    "run.name",
    "run.watch_s",
    "run.record_clients",
    "run.memory_mb",
    "clients.max_rejected",
    "optimizer.lr",
    "data.root",
)


@dataclass(frozen=True)
class Resolved:
    """A Config whose names are known and whose own keys are checked."""

    config: configuration.Config
    text: str
    algorithm: type[Algorithm]
    algorithm_keys: Keys
    selector: type[Selector]
    selector_keys: Section
    stages: tuple[tuple[type[Stage], Section], ...]
    model_keys: dict
    data_keys: dict
    partition_keys: dict
    loss: Loss
    metrics: dict[str, type[Metric]]

    def values(self):
        """Return every value used, defaults included, as plain data by section."""
        tree = self.config.model_dump(mode="json")
        tree["algorithm"] = {"name": self.config.algorithm.name} | self.algorithm_keys.model_dump()
        tree["model"] |= self.model_keys
        tree["data"] |= self.data_keys | self.partition_keys
        tree["clients"] |= self.selector_keys.model_dump()
        tree["clients"]["cohort"] = self.config.clients.cohort
        names = [stage.name for stage in self.config.stage]
        tree["stage"] = [
            {"name": name} | keys.model_dump()
            for name, (_, keys) in zip(names, self.stages, strict=True)
        ]
        return tree


def read(path, overrides=()):
    """Return the Resolved experiment of the TOML file at `path`. Raises ConfigError."""
    return resolve(text_of(path), str(path), overrides)


def resolve(text, place, overrides=(), devices=None):
    """Return the Resolved experiment of TOML `text`; `place` names its file in messages.

    `devices` are the texts of the files of [devices] where another rank has read them.
    """
    config = configuration.read(text, place, overrides)
    return _named(_with_devices(config, place, devices), text, place)


def of_tree(tree):
    """Return the Resolved experiment of a dict of sections, which is not changed."""
    text, place = "# given as a dict\n", "configuration"
    config = configuration.check_tree(_plain(tree), place)
    return _named(_with_devices(config, place), text, place)


def device_files(text, place, overrides=()):
    """Return {key of [devices]: text} of the files that TOML `text` names there.

    They lie in the folder of the configuration, `place`, or in the working directory.
    Raises ConfigError.
    """
    return _device_files(configuration.read(text, place, overrides).devices, place)


def named_files(text, place, overrides=()):
    """Return {name: text} of the same files, by the names that the configuration gives them."""
    section = configuration.read(text, place, overrides).devices
    return {section.files[key]: found for key, found in _device_files(section, place).items()}


def _device_files(section, place):
    """Return {key: text} of the files that a DevicesSection names and has not read yet."""
    texts = {}
    for key, name in section.files.items():
        path = Path(place).parent / name
        try:
            kind = "CSV or JSON" if key == "trace" else "CSV"
            longest = LONGEST_TRACE if key == "trace" else LONGEST
            texts[key] = text_of(path if path.is_file() else name, kind, longest)
        except ConfigError as error:
            raise ConfigError(f"{place}: devices.{key}: {error}") from None
    return texts


def _with_devices(config, place, texts=None):
    """Return the Config with what the files of [devices] hold, so that it needs them no more.

    `texts` is what `device_files` returned, read here if not given.
    """
    section = config.devices
    texts = _device_files(section, place) if texts is None else texts
    held = {HELD[key]: READERS[key](text, getattr(section, key)) for key, text in texts.items()}
    devices = section.model_copy(update=held)
    return config.model_copy(update={"devices": devices})


def _plain(value):
    """Plain data as TOML has it: numbers of numpy, paths, classes and functions become texts."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, type) or isfunction(value):
        return named.name_of(value)
    return str(value) if isinstance(value, PurePath) else value


def again(kept, place, overrides=(), allow_code=False):
    """Return the Resolved experiment of a result file, with changes that its state can bear.

    `kept` holds the "text" as given, the "values" used, overrides included, and how many
    rounds are "done". Modules that the file names are imported only with `allow_code`: to open
    a file that somebody else wrote must not run code.
    """
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key not in CHANGEABLE and not key.startswith("collective."):
            raise ConfigError(
                f"--set {override}: cannot change in a resumed run; "
                f"keys that can change: {', '.join(CHANGEABLE)}, collective.*"
            )
    tree = copy.deepcopy(kept["values"])
    tree.get("clients", {}).pop("cohort", None)
    if not allow_code and (own := dict(named.names_in(tree))):
        listed = ", ".join(f"{key} = {name!r}" for key, name in own.items())
        raise ConfigError(
            f"{place}: would import code: {listed}\n"
            "if you know that code and where the file comes from, add --allow-code"
        )
    config = configuration.check_tree(tree, place, overrides)
    if config.run.rounds < kept.get("done", 0):
        raise ConfigError(
            f"{place}: run.rounds = {config.run.rounds}: {kept['done']} rounds are done already; "
            f"give {kept['done']} or more"
        )
    return _named(config, kept["text"], place)


def _named(config, text, place):
    """Return the Resolved experiment of a Config: the things that it names, their keys checked."""
    cls = ALGORITHMS.find(config.algorithm.name, place)
    keys = check(cls.Keys, config.algorithm.own_keys(), place, "algorithm.",
                 of=config.algorithm.name)
    selector, selector_keys = _selector(config.clients, place)
    stages = tuple(_stage(section, place) for section in config.stage)
    _check_policy(config, cls, place)
    _check_stages([stage for stage, _ in stages], place)
    if config.schedule.mode == "async":
        _check_together(cls, keys, [stage for stage, _ in stages], place)
    data, partition = _data_keys(config.data, place)
    model = options_of(config.model.name, config.model.own_keys(), place)
    loss, metrics = _judges(config.model, place)
    return Resolved(
        config, text, cls, keys, selector, selector_keys, stages, model, data, partition, loss,
        metrics,
    )  # fmt: skip


def _judges(section, place):
    """Return the Loss and {name: class of metric} that [model] names. Raises ConfigError."""
    loss = LOSSES.find(section.loss, place)
    metrics = {name: METRICS.find(name, place) for name in section.metrics}
    for name, metric in metrics.items():
        if loss.target not in metric.targets:
            fitting = [m for m, other in METRICS.items() if loss.target in other.targets]
            raise ConfigError(
                f"{place}: model.metrics = {name!r}: judges {either(metric.targets)}, and "
                f"model.loss = {section.loss!r} is of {loss.target}; use {either(fitting)}"
            )
    columns = [column_of(name) for name in section.metrics]
    taken = {column.name for column in ROUNDS}
    for number, column in enumerate(columns):
        if column in taken or column in columns[:number]:
            raise ConfigError(f"{place}: model.metrics: two columns {column!r}; name each once")
    return loss, metrics


def _selector(section, place):
    """Return the class that [clients] selection names, and its keys, checked."""
    found = SELECTORS.find(section.selection, place)
    fields = type(section).model_fields
    return found, check(found.Keys, section.own_keys(), place, "clients.", fields,
                        section.selection)


def _stage(section, place):
    """Return the class that a [[stage]] names, and its keys, checked."""
    found = STAGES.find(section.name, place)
    return found, check(found.Keys, section.own_keys(), place, f"stage {section.name}: ",
                        of=section.name)


def _check_stages(stages, place):
    """Raise ConfigError if a stage stands where it cannot work."""
    for stage in stages:
        if stage.last and stage is not stages[-1]:
            raise ConfigError(f"{place}: stage {stage.name}: must be the last [[stage]]")


def _check_together(cls, keys, stages, place):
    """Raise ConfigError if a method or a stage needs the reports of a round alone."""
    found = [f"algorithm {cls.name}"] if cls.together(keys) else []
    found += [f"stage {stage.name}" for stage in stages if stage.together]
    if found:
        raise ConfigError(
            f"{place}: {found[0]}: needs the clients of a round at work together; use "
            'schedule.mode = "sync" or "deadline"'
        )


def _check_policy(config, cls, place):
    """Raise ConfigError if [devices] policy has nothing to choose."""
    section = config.devices
    if section.policy != "fixed" and section.knob == "method" and not cls.knob:
        raise ConfigError(
            f"{place}: devices.policy = {section.policy!r}: algorithm {config.algorithm.name} has "
            'no key of which a device could be given less; add devices.knob = "steps"'
        )


def _data_keys(section, place):
    """Return the data set's own keys and the partition's, checked, defaults filled in.

    The user's function that names no keys takes all that the other one does not.
    """
    things = DATASETS.find(section.name, place), PARTITIONS.find(section.partition, place)
    given, fields = section.own_keys(), type(section).model_fields
    known = [thing.keys.model_fields if thing.keys else {} for thing in things]
    if all(thing.keys for thing in things):
        both = type("Keys", tuple({thing.keys: None for thing in things}), {})
        check(both, given, place, "data.", fields, f"{section.name} and {section.partition}")
    taken = []
    for thing, own, other in zip(things, known, known[::-1], strict=True):
        mine = {k: v for k, v in given.items() if (k in own if thing.keys else k not in other)}
        taken.append(thing.checked(mine, place, "data."))
    return taken
