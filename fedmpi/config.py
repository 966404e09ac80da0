"""The configuration: TOML text as frozen, checked sections. Only this module reads configurations.

Sections of a method, a model or a data set also have its own keys. Those are checked, with the same
messages, by the class that the name refers to.
"""

import math
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fedmpi.errors import ConfigError, of_parser
from fedmpi.model_section import ModelSection
from fedmpi.section import (
    Amount,
    Name,
    NamedSection,
    NotNegative,
    OpenSection,
    Positive,
    Rate,
    Section,
    Share,
    Speed,
    Threads,
    Unit,
    check,
)
from fedmpi.simulated import DevicesSection, ScheduleSection


class RunSection(Section):
    """[run]: length, precision and hardware of a run.

    own_models: maximum number of clients whose own models an evaluation tests, for methods that
    keep parts of the model with the clients, drawn in each evaluation (0: the global model).
    checkpoint_share: share of the time that checkpoints may take. A checkpoint that would exceed
    it waits for a later round; with 1 none waits.
    record_clients: which clients of a round get a row in the result file: all, 1,000 drawn at
    random in each round, or none. The columns of the rounds always cover all clients.
    memory_mb: how much of the clients' memories a rank holds; the rest is on the node's disk.
    train_twice: this many clients are trained twice on every rank before the first round. The run
    stops if a result differs: the method draws from a global generator, or counts on `self`.
    portable: torch, oneDNN and numba use only x86-64-v3, so newer processors give the same bits.
    """

    name: Name = "experiment"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    rounds: Positive = 10
    eval_every: Positive = 1
    own_models: Annotated[int, Field(ge=0)] = 100
    checkpoint_every: Positive = 10
    checkpoint_share: Share = 0.02
    threads_per_rank: Threads = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    watch_s: NotNegative = 60.0
    engine: Literal["auto", "kernels", "torch", "batched", "debug"] = "auto"
    chunk: Annotated[int, Field(ge=1, le=65_536)] | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    sum: Literal["exact", "fast"] = "exact"
    train_twice: Annotated[int, Field(ge=0)] = 0
    portable: bool = False
    record_clients: Literal["all", "sample", "none"] = "all"
    memory_mb: Positive = 1024

    @model_validator(mode="before")
    @classmethod
    def _trainer_is_an_older_name_of_engine(cls, keys: Any) -> Any:
        """Accept `trainer` for `engine` and "numba" for "kernels", from older files."""
        if not isinstance(keys, dict) or "trainer" not in keys:
            return keys
        old = (keys := dict(keys)).pop("trainer")
        if old not in ("auto", "torch", "numba"):
            raise ValueError(f"trainer = {old!r}: write engine, which is 'auto', 'kernels', "
                             "'torch', 'batched' or 'debug'")
        engine = "kernels" if old == "numba" else old
        if (new := keys.setdefault("engine", engine)) != engine:
            raise ValueError(f"trainer = {old!r} and engine = {new!r} differ; remove trainer")
        return keys

    @model_validator(mode="after")
    def _one_engine_has_devices(self) -> "RunSection":
        gpu, coarse = self.device == "cuda", self.precision != "float32"
        able = ("batched", "auto") if gpu else ("batched",)  # "auto" is "batched" only on a GPU
        if (gpu or coarse) and self.engine not in able:
            raise ValueError(f"engine = {self.engine!r} is for cpu and float32; use 'batched'")
        return self


class DataSection(NamedSection):
    """[data]: the data set, and how it is split over the clients.

    augment: "crop-flip" shifts each training image by up to 4 pixels, reflected at the edges, and
    mirrors it with probability 1/2. Both are drawn each time the image is used.
    """

    name: Name = "digits"
    root: str | None = None
    partition: Name = "iid"
    augment: Literal[False, "crop-flip"] = False


class ClientsSection(OpenSection):
    """[clients]: number, selection and local training of the clients.

    selection: a name of `fedmpi list selections` or package.module:object, and its keys.
    batch_size: "all" puts all samples of a client into one batch.
    """

    selection: Name = "uniform"
    number: Annotated[int, Field(ge=1, le=100_000_000)] = 100
    per_round: Positive | None = None
    fraction: Share | None = None
    local_epochs: Positive | None = None
    local_steps: Positive | None = None
    batch_size: Positive | Literal["all"] = 32
    weighting: Literal["samples", "uniform"] = "samples"
    max_rejected: Annotated[float, Field(ge=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _one_of_each_pair(self) -> "ClientsSection":
        for one, other in (("per_round", "fraction"), ("local_epochs", "local_steps")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"{one} and {other} are both given; give one of them")
        if self.per_round is not None and self.per_round > self.number:
            asked, there = self.per_round, self.number
            raise ValueError(f"per_round = {asked} is more than number = {there}; lower per_round")
        return self

    @property
    def cohort(self) -> int:
        """Number of clients selected in a round; at least one."""
        return self.per_round or max(1, round(self.number * (self.fraction or 1.0)))


class StageSection(NamedSection):
    """[[stage]]: a change of every message, by its name and keys. Stages act in their order."""


class OptimizerSection(Section):
    """[optimizer]: the optimizer of the clients. lr_decay multiplies lr after every round."""

    name: Literal["sgd", "adam"] = "sgd"
    lr: Rate = 0.1
    momentum: Unit = 0.0
    weight_decay: NotNegative = 0.0
    lr_decay: Share = 1.0

    @model_validator(mode="after")
    def _momentum_is_for_sgd(self) -> "OptimizerSection":
        if self.name == "adam" and self.momentum:
            raise ValueError(f"momentum = {self.momentum} does not apply to adam; remove it")
        return self


class ServerSection(Section):
    """[server]: how the mean of the clients becomes the next global weights."""

    optimizer: Literal["average", "sgd", "adam", "yogi", "adagrad"] = "average"
    lr: Rate = 1.0
    momentum: Unit = 0.0
    betas: tuple[Unit, Unit] = (0.9, 0.99)
    epsilon: Rate = 1e-3

    @model_validator(mode="after")
    def _average_takes_no_keys(self) -> "ServerSection":
        given = [k for k, f in type(self).model_fields.items() if getattr(self, k) != f.default]
        if self.optimizer == "average" and given:
            raise ValueError(f"{given[0]} does not apply to optimizer = 'average'; remove it")
        return self


class AlgorithmSection(NamedSection):
    """[algorithm]: a registered name or package.module:object, and its own keys."""

    name: Name = "fedavg"


class NetworkSection(Section):
    """[network]: links of the clients, unless the device profile has its own; and the codec.

    codec: "auto" sends float32 values. With "float16" or "bfloat16" clients send 16 bits for each
    value, rounded to nearest, and the server uses the rounded values. The server sends float32.
    """

    up_mbit_s: Speed = 10.0
    down_mbit_s: Speed = 50.0
    latency_s: Amount = 0.05
    codec: Literal["auto", "float16", "bfloat16"] = "auto"

    @property
    def value_type(self) -> str:
        """Type of the values that a client sends, as `fedmpi.comm.codec` names it."""
        return "float32" if self.codec == "auto" else self.codec


class CollectiveSection(Section):
    """[collective]: how the ranks add up their sums.

    "auto" uses shared memory inside a node and the cheapest algorithm between nodes. "node+" and
    a name sets the algorithm between nodes; a name alone is used between all ranks. overlap: "on"
    starts the sums of a rank while its last client trains; "auto" tries this in some rounds.
    """

    algorithm: Literal[
        "auto", "shared", "allgatherv", "halving", "split", "dsar", "dense", "node+shared",
        "node+allgatherv", "node+halving", "node+split", "node+dsar", "node+dense",
    ] = "auto"  # fmt: skip
    overlap: Literal["auto", "on", "off"] = "auto"


class Config(Section):
    """A whole experiment."""

    run: RunSection = RunSection()
    data: DataSection = DataSection()
    clients: ClientsSection = ClientsSection()
    model: ModelSection = ModelSection()
    optimizer: OptimizerSection = OptimizerSection()
    server: ServerSection = ServerSection()
    algorithm: AlgorithmSection = AlgorithmSection()
    stage: tuple[StageSection, ...] = ()
    devices: DevicesSection = DevicesSection()
    network: NetworkSection = NetworkSection()
    schedule: ScheduleSection = ScheduleSection()
    collective: CollectiveSection = CollectiveSection()

    @property
    def selected(self) -> int:
        """Number of clients to select for a round, or with "async" of reports that end it."""
        if self.schedule.mode == "async":
            return self.schedule.buffer_size or min(10, self.clients.cohort)
        wanted = self.clients.cohort * self.schedule.over_select
        # 10 * 1.1 is a little more than 11 in floating point, but should give 11.
        return min(self.clients.number, math.ceil(round(wanted, 6)))

    @model_validator(mode="after")
    def _cells_know_all_messages(self) -> "Config":
        if self.devices.cell_mbit_s and (self.schedule.mode != "sync" or self.devices.trace):
            raise ValueError(
                "devices.cell_mbit_s: needs schedule.mode = 'sync' and no devices.trace; otherwise "
                "a client could be late because of other ranks' clients, which its rank cannot know"
            )
        return self

    @model_validator(mode="after")
    def _fit_deadline_has_a_deadline(self) -> "Config":
        if self.devices.policy == "fit-deadline" and self.schedule.mode != "deadline":
            raise ValueError("devices.policy = 'fit-deadline' needs schedule.mode = 'deadline'")
        return self

    @model_validator(mode="after")
    def _only_exact_sums_have_no_order(self) -> "Config":
        if self.collective.overlap == "on" and self.run.sum != "exact":
            raise ValueError("collective.overlap = 'on' needs run.sum = 'exact'")
        return self


def read(text: str, place: str, overrides: Sequence[str] = ()) -> Config:
    """Return the Config of TOML `text`, changed by `overrides`, strings such as "a.b=value".

    `place` names the source in messages. Raises ConfigError.
    """
    return check_tree(parse(text, place), place, overrides)


def parse(text: str, place: str) -> dict[str, Any]:
    """Return the dict in TOML `text`, which `place` names in messages. Raises ConfigError."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also for a number with thousands of digits
        raise ConfigError(f"{place}: not valid TOML: {of_parser(error, text)}") from None


def check_tree(tree: dict[str, Any], place: str, overrides: Sequence[str] = ()) -> Config:
    """Return the Config of a dict of sections, which `overrides` change in place."""
    for override in overrides:
        _set(tree, override)
    return check(Config, tree, place)


def _set(tree: dict[str, Any], override: str) -> None:
    """Set one "a.b=value" in `tree`, in place; the value is TOML, or else a plain string."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override}: must be section.key=value")
    value = text.strip()
    with suppress(ValueError, RecursionError):
        found = tomllib.loads(f"value = {value}")
        value = found["value"] if len(found) == 1 else value  # further lines are no value
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--set {override}: {key} is a value, not a section")
    tree[keys[-1]] = value
