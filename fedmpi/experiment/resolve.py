"""Resolve the names in a Config to classes, and check their keys. Needs no torch and no MPI."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import isfunction
from os import PathLike
from pathlib import PurePath
from typing import Any

import numpy as np

from fedmpi import config as configuration
from fedmpi import user_code
from fedmpi.algorithm import Algorithm, Keys
from fedmpi.algorithms import ALGORITHMS
from fedmpi.errors import ConfigError, UnknownKeyError, either, nearest_key
from fedmpi.experiment.device_files import with_contents
from fedmpi.learn.data import DATASETS
from fedmpi.learn.losses import KINDS, LOSSES, Loss
from fedmpi.learn.metrics import METRICS, column_of
from fedmpi.learn.models import options_of
from fedmpi.learn.partitions import PARTITIONS
from fedmpi.metric import Metric
from fedmpi.model_section import ModelSection
from fedmpi.record.schema import ROUNDS
from fedmpi.section import Section, check
from fedmpi.selectors import SELECTORS, Selector
from fedmpi.stages import STAGES, Stage
from fedmpi.text_file import text_of


@dataclass(frozen=True)
class Resolved:
    """A Config with its names resolved and the keys of its parts checked."""

    config: configuration.Config
    text: str
    algorithm: type[Algorithm]
    algorithm_keys: Keys
    selector: type[Selector]
    selector_keys: Section
    stages: tuple[tuple[type[Stage], Section], ...]
    model_keys: dict[str, Any]
    data_keys: dict[str, Any]
    partition_keys: dict[str, Any]
    loss: Loss
    metrics: dict[str, type[Metric]]

    def values(self) -> dict[str, Any]:
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

    def with_run(self, **keys: Any) -> "Resolved":
        """Return the same experiment with other values of `keys` in [run]; they are not checked."""
        run = self.config.run.model_copy(update=keys)
        return replace(self, config=self.config.model_copy(update={"run": run}))


def read(path: str | PathLike[str], overrides: Sequence[str] = ()) -> Resolved:
    """Return the Resolved experiment of the TOML file at `path`. Raises ConfigError."""
    return resolve(text_of(path), str(path), overrides)


def resolve(
    text: str, place: str, overrides: Sequence[str] = (), devices: Mapping[str, str] | None = None
) -> Resolved:
    """Return the Resolved experiment of TOML `text`; `place` names its file in messages.

    `devices` is the result of `device_files.by_key` if another rank has read the files.
    """
    config = configuration.read(text, place, overrides)
    return of_config(with_contents(config, place, devices), text, place)


def of_tree(tree: Mapping[str, Any]) -> Resolved:
    """Return the Resolved experiment of a dict of sections, which is not changed."""
    text, place = "# given as a dict\n", "configuration"
    config = configuration.check_tree(_plain(tree), place)
    return of_config(with_contents(config, place), text, place)


def _plain(value: Any, key: str = "") -> Any:
    """Return `value` as TOML data: numpy numbers become plain; paths, classes and functions, texts.

    Raises ConfigError for any other object, with the dotted `key` that it was given for.
    """
    if isinstance(value, dict):
        return {str(name): _plain(one, f"{key}.{name}".lstrip(".")) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, key) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, type) or isfunction(value):
        return user_code.name_of(value)
    if value is not None and not isinstance(value, str | int | float | PurePath):
        raise ConfigError(f"configuration: {key}: is an object of type {type(value).__name__}; "
                          "give a number, a text, a class or a function (Net, not Net())")
    return str(value) if isinstance(value, PurePath) else value


def of_config(config: configuration.Config, text: str, place: str) -> Resolved:
    """Return the Resolved experiment of a Config: resolve its names and check their keys."""
    cls = ALGORITHMS.find(config.algorithm.name, place)
    keys = check(cls.Keys, config.algorithm.own_keys(), place, "algorithm.",
                 of=config.algorithm.name)
    selector, selector_keys = _selector(config.clients, place)
    stages = tuple(_stage(section, place) for section in config.stage)
    _check_policy(config, cls, place)
    _check_personal(cls, place)
    _check_server(config.server, cls, place)
    _check_stages([stage for stage, _ in stages], place)
    if config.schedule.mode == "async":
        _check_synchronous(cls, keys, [stage for stage, _ in stages], place)
    data, partition = _data_keys(config.data, place)
    model = options_of(config.model.name, config.model.own_keys(), place)
    loss, metrics = _loss_and_metrics(config.model, place)
    _check_targets(config, cls.targets(keys), loss, place)
    return Resolved(
        config, text, cls, keys, selector, selector_keys, stages, model, data, partition, loss,
        metrics,
    )  # fmt: skip


def _loss_and_metrics(section: ModelSection, place: str) -> tuple[Loss, dict[str, type[Metric]]]:
    """Return the Loss and {name: class of metric} that [model] names. Raises ConfigError."""
    loss = LOSSES.find(section.loss, place)
    metrics = {name: METRICS.find(name, place) for name in section.metrics}
    for name, metric in metrics.items():
        if loss.target not in metric.targets:
            fitting = [m for m, other in METRICS.items() if loss.target in other.targets]
            raise ConfigError(
                f"{place}: model.metrics = {name!r}: is for data with {either(metric.targets)}, "
                f"but model.loss = {section.loss!r} is for {loss.target}; use {either(fitting)}"
            )
    columns = [column_of(name) for name in section.metrics]
    taken = {column.name for column in ROUNDS}
    for number, column in enumerate(columns):
        if column in taken or column in columns[:number]:
            raise ConfigError(f"{place}: model.metrics: two columns would have the name "
                              f"{column!r}; leave out or rename a metric")
    return loss, metrics


def _check_targets(
    config: configuration.Config, fitting: Sequence[str], loss: Loss, place: str
) -> None:
    """Raise ConfigError if the method works only with targets of other kinds than the loss."""
    if loss.target not in fitting:
        raise ConfigError(
            f"{place}: algorithm.name = {config.algorithm.name!r}: is for data with "
            f"{either([KINDS[kind] for kind in fitting])}, but data.name = {config.data.name!r} "
            f"with model.loss = {config.model.loss!r} has {KINDS[loss.target]}; take other data, "
            "or a method for all kinds, such as fedavg"
        )


def _selector(
    section: configuration.ClientsSection, place: str
) -> tuple[type[Selector], Section]:
    """Return the class that [clients] selection names, and its keys, checked."""
    found = SELECTORS.find(section.selection, place)
    _check_kept(found, place)
    fields = type(section).model_fields
    return found, check(found.Keys, section.own_keys(), place, "clients.", fields,
                        section.selection)


def _check_kept(cls: type[Selector], place: str) -> None:
    """Raise ConfigError if a rule of selection learns, and a resumed run would forget it."""
    own = {name for name in ("learn", "begun", "arrays", "restore")
           if getattr(cls, name) is not getattr(Selector, name)}
    if own & {"learn", "begun"} and not own >= {"arrays", "restore"}:
        raise ConfigError(
            f"{place}: clients.selection: {cls.__module__}.{cls.__qualname__} learns from rounds, "
            "and a resumed run would have forgotten it; also define arrays and restore"
        )


def _stage(section: configuration.StageSection, place: str) -> tuple[type[Stage], Section]:
    """Return the class that a [[stage]] names, and its keys, checked."""
    found = STAGES.find(section.name, place)
    return found, check(found.Keys, section.own_keys(), place, f"stage {section.name}: ",
                        of=section.name)


def _check_stages(stages: Sequence[type[Stage]], place: str) -> None:
    """Raise ConfigError if a stage that must be the last is followed by another stage."""
    for stage in stages:
        if stage.last and stage is not stages[-1]:
            raise ConfigError(f"{place}: stage {stage.name}: must be the last [[stage]]")


def _check_synchronous(
    cls: type[Algorithm], keys: Keys, stages: Sequence[type[Stage]], place: str
) -> None:
    """Raise ConfigError if a method or a stage must not mix reports of different rounds."""
    found = [f"algorithm {cls.name}"] if cls.synchronous(keys) else []
    found += [f"stage {stage.name}" for stage in stages if stage.synchronous]
    if found:
        raise ConfigError(
            f"{place}: {found[0]}: cannot mix clients that began in different rounds; use "
            "schedule.mode = 'sync' or 'deadline'"
        )


def _check_policy(config: configuration.Config, cls: type[Algorithm], place: str) -> None:
    """Raise ConfigError if [devices] policy has nothing to choose."""
    section = config.devices
    if section.policy != "fixed" and section.knob == "method" and not cls.knob:
        raise ConfigError(
            f"{place}: devices.policy = {section.policy!r}: algorithm {config.algorithm.name} has "
            "no key that a policy could reduce for a device; add devices.knob = 'steps'"
        )


def _check_personal(cls: type[Algorithm], place: str) -> None:
    """Raise ConfigError if a user's method defines `own` but its models would not be tested."""
    author = next(base for base in cls.__mro__ if "own" in vars(base))
    if not (cls.personal or author.__module__.startswith("fedmpi.")):
        raise ConfigError(
            f"{place}: algorithm.name: {cls.__module__}.{cls.__qualname__} defines own, but the "
            "class does not say `personal = True`; add that line to it"
        )


def _check_server(section: configuration.ServerSection, cls: type[Algorithm], place: str) -> None:
    """Raise ConfigError if the step of [server] would not reach what the clients train."""
    if section.optimizer == "average" or (cls.base in (None, "weights") and not cls.bits):
        return
    why = "its clients send bits" if cls.bits else f"its clients train {cls.base!r}"
    raise ConfigError(
        f"{place}: server.optimizer = {section.optimizer!r}: moves the weights, but algorithm "
        f"{cls.name} computes new weights in every round, and {why}; leave out [server]"
    )


def _data_keys(section: configuration.DataSection, place: str) -> list[dict[str, Any]]:
    """Return the keys of the data set and of the partition, checked, with defaults filled in.

    A user's function that names no keys takes all keys that the other function does not name.
    """
    things = DATASETS.find(section.name, place), PARTITIONS.find(section.partition, place)
    given, fields = section.own_keys(), type(section).model_fields
    known, of = [thing.names for thing in things], f"{section.name} and {section.partition}"
    if all(thing.keys for thing in things):
        both = type("Keys", tuple({thing.keys: None for thing in things}), {})
        check(both, given, place, "data.", fields, of)
    elif None not in known:
        every = [*known[0], *known[1]]
        for key in (key for key in given if key not in every):
            hint = nearest_key(key, [*every, *fields], of)
            raise UnknownKeyError(f"{place}: data.{key}: unknown key; {hint}")
    taken = []
    for thing, own, other in zip(things, known, known[::-1], strict=True):
        mine = {k: v for k, v in given.items()
                if (k not in (other or ()) if own is None else k in own)}
        taken.append(thing.checked(mine, place, "data."))
    return taken
