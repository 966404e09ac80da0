"""Assemble all the parts of a run, once on every rank."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from fedmpi import hooks
from fedmpi.algorithm import Algorithm
from fedmpi.arrays import AnyArray, Integers, Reals
from fedmpi.comm.alike import alike
from fedmpi.comm.base import Comm
from fedmpi.config import Config
from fedmpi.errors import ConfigError, either
from fedmpi.experiment.division import split
from fedmpi.experiment.first_rank import partition_of, weights_of
from fedmpi.experiment.model_cache import ModelCache
from fedmpi.experiment.narrowing import check_narrowing
from fedmpi.experiment.node_engine import node_engine, one_of
from fedmpi.experiment.outputs import check_outputs
from fedmpi.experiment.resolve import Resolved
from fedmpi.layout import Layout
from fedmpi.learn.augment import augmentation_of
from fedmpi.learn.data import Dataset, load
from fedmpi.learn.engine import ClientData, Engine
from fedmpi.learn.evaluate import client_loss
from fedmpi.learn.held_classes import held_classes
from fedmpi.learn.local import Local
from fedmpi.learn.losses import KINDS, LOSSES
from fedmpi.learn.metrics import column_of
from fedmpi.learn.open_channels import left_by_gates
from fedmpi.learn.partitions import Drawn, Partition
from fedmpi.learn.sample_arrays import Samples
from fedmpi.plan import Gates
from fedmpi.round.costs import Costs
from fedmpi.round.fixed import Experiment
from fedmpi.round.memories import ClientStore
from fedmpi.round.progress import Progress
from fedmpi.round.server_optimizer import ServerOptimizer
from fedmpi.setting import Setting
from fedmpi.stages import Stage, StageSetting, without_stages
from fedmpi.world.devices import Devices, devices_of
from fedmpi.world.schedule import schedule_of

Sampling: TypeAlias = Callable[[AnyArray, AnyArray], Samples]
"""(x, targets) -> Samples of a run's data set."""


def unannounced(text: str) -> None:
    """Ignore a step of the start: the default for `announce`."""


def assemble(
    resolved: Resolved, comm: Comm, root: Path | None, cache: Path | None = None,
    progress: Progress | None = None, announce: Callable[[str], None] = unannounced,
    environ: Mapping[str, str] | None = None,
) -> Experiment:
    """Return the Experiment of a Resolved configuration; collective over `comm`.

    `root` is the folder of the data sets, and `cache` the folder for records of verified files. If
    `environ`, the environment of the command line, is given, models are cached in `cache` too. The
    first rank of each node reads the data; all ranks of the node share its copy. An invalid
    experiment raises AlikeError on all ranks (with a single rank, the error itself). `progress`
    counts each step of the training; `announce` is called with a text at each step of the start.
    """
    announce(f"reading the data set {resolved.config.data.name}")
    dataset = _shared_dataset(resolved, comm, root, cache)
    announce(f"splitting it over {resolved.config.clients.number:,} clients, building the model")
    with alike(comm):
        here = comm.rank == 0 or dataset.on_demand
        found = split(resolved, dataset) if here else None
        devices = devices_of(resolved.config, resolved.config.run.seed)
    partition, devices = _shared_partition(comm, found), _shared_devices(comm, devices)
    homes = comm.node_zeros((len(partition.sizes),), np.int32)
    memories = ClientStore(homes, resolved.config.run.memory_mb * 1_000_000)
    with alike(comm):
        samples = _sampling(dataset, resolved)
        data = _client_data(resolved.config, dataset, partition, samples)
    test = samples(dataset.x_test, _targets(dataset.y_test, dataset.targets_test))
    on_step = (progress or Progress()).step
    own_code = ":" in resolved.config.model.name
    cached = partial(ModelCache, None if own_code else cache, environ)
    engine = node_engine(resolved, comm, dataset.classes, data, test, on_step, cached)
    with alike(comm):
        made = _assembled(resolved, dataset, test, engine, devices, memories)
    return replace(made, weights=weights_of(comm, made.weights))


def _client_data(
    config: Config, dataset: Dataset, partition: Partition | Drawn, samples: Sampling
) -> ClientData:
    """Return the ClientData of a run; `samples` is the function that `_sampling` returned."""

    def draw(client: int) -> Samples:
        """Return the Samples of a client that draws them."""
        return samples(*dataset.client(client, int(partition.sizes[client])))

    train = samples(dataset.x_train, _targets(dataset.y_train, dataset.targets_train))
    return ClientData(
        samples=train,
        partition=partition,
        local=_local(config, partition),
        seed=config.run.seed,
        augment=augmentation_of(config.data.augment, dataset),
        loss=config.model.loss,
        draw=draw if dataset.on_demand else None,
    )


def _assembled(
    resolved: Resolved, dataset: Dataset, test: Samples, engine: Engine, devices: Devices,
    memories: ClientStore,
) -> Experiment:
    """Return the Experiment with an Engine; every rank builds its own."""
    config = resolved.config
    sample = one_of(engine.data, test)
    check_outputs(engine, config.model, dataset.classes, sample)
    partition, labels = engine.data.partition, None
    if not isinstance(partition, Drawn):
        labels = held_classes(engine.data.samples, partition, dataset.classes, resolved.loss.target)
    facts = {"labels": labels, "flow": engine.flow}
    stages = _stages(resolved, engine.layout)
    costs = Costs(config, engine, devices, stages)
    algorithm = _algorithm(resolved, costs, memories, facts)
    if dataset.on_demand and algorithm.static_norm and not engine.layout.trained.all():
        raise ConfigError(
            f"data.name = {config.data.name!r}: clients draw their samples, so {algorithm.name!r} "
            "finds none to take the statistics of BatchNorm from; use a model without BatchNorm"
        )
    _fit_to_stages(algorithm, stages)
    check_narrowing(engine, algorithm, sample[0])
    return Experiment(
        config=config,
        dataset=dataset,
        test=test,
        devices=devices,
        schedule=schedule_of(config.schedule),
        engine=engine,
        algorithm=algorithm,
        stages=stages,
        costs=costs,
        selector=hooks.made(resolved.selector, resolved.selector_keys, config.run.seed,
                            config.clients.number),
        server_optimizer=ServerOptimizer(config.server, algorithm),
        weights=engine.initial_weights,
        memories=memories,
        metrics=tuple((column_of(name), metric()) for name, metric in resolved.metrics.items()),
    )


def _algorithm(
    resolved: Resolved, costs: Costs, memories: ClientStore, facts: Mapping[str, Any]
) -> Algorithm:
    """Return the method of a run with its Setting; `facts` are further fields of the Setting."""
    config, gates = resolved.config, resolved.algorithm.gates(resolved.algorithm_keys)
    engine, devices = costs.engine, costs.devices
    setting = Setting(
        layout=engine.layout,
        seed=config.run.seed,
        rounds=config.run.rounds,
        clients=config.clients.number,
        exact=config.run.sum == "exact",
        speed=devices.speed,
        optimizer=config.optimizer,
        gates=None if gates is None else _left_by_gates(engine.layout, gates),
        policy=config.devices.policy if config.devices.knob == "method" else "fixed",
        fit=costs.fit,
        steps=costs.steps,
        seconds=costs.seconds_of,
        memory=lambda client: without_stages(memories[client]),
        accuracy=engine.accuracy,
        loss=partial(client_loss, engine),
        **facts,
    )
    found: Algorithm = hooks.made(resolved.algorithm, resolved.algorithm_keys, setting)
    return found


def _left_by_gates(layout: Layout, gates: Gates) -> Callable[..., Reals]:
    """Return the function `gates` of a Setting."""
    return lambda ratio=gates.ratio: left_by_gates(layout, replace(gates, ratio=ratio))


def _stages(resolved: Resolved, layout: Layout) -> tuple[Stage, ...]:
    """Return the stages of a run, in their order."""
    seed = resolved.config.run.seed
    return tuple(
        hooks.made(stage, keys, StageSetting(layout, seed, number))
        for number, (stage, keys) in enumerate(resolved.stages)
    )


def _fit_to_stages(algorithm: Algorithm, stages: tuple[Stage, ...]) -> None:
    """Adapt the sums of `algorithm` to the stages, and refuse stages that do not fit it."""
    sparse = [stage.name for stage in stages if stage.sparse]
    if len(sparse) > 1:
        raise ConfigError(f"stage {sparse[1]}: leaves out coordinates, as a stage {sparse[0]} "
                          "before it does; leave out one of them")
    for stage in stages:
        if stage.scales and algorithm.bits:
            raise ConfigError(
                f"stage {stage.name}: scales the values that clients send or adds noise to them, "
                f"but clients of {algorithm.name} send bits; leave it out, or take a method whose "
                "clients send weights, such as fedavg"
            )
        if stage.sparse:
            algorithm.allow_sparse(f"stage {stage.name}")
    for stage in stages:
        stage.check(algorithm.zero())


def _shared_dataset(
    resolved: Resolved, comm: Comm, root: Path | None, cache: Path | None
) -> Dataset:
    """Load the data once on each node, and return views of that copy on all its ranks."""
    name, arrays, facts, drawn = resolved.config.data.name, None, None, None

    def loaded() -> Dataset:
        """Return the Dataset, read by this rank."""
        found: Dataset = load(name, root, resolved.data_keys, cache)
        return found

    with alike(comm):
        if comm.node_rank == 0:
            dataset = loaded()
            arrays, drawn = dataset.arrays(), dataset.on_demand
            facts = dataset.facts() | {"on_demand": drawn is not None}
    arrays, facts = comm.share_on_node(arrays, f"data.name = {name!r}"), comm.share(facts)
    with alike(comm):
        if facts.pop("on_demand") and drawn is None:
            drawn = loaded().on_demand  # functions cannot be sent to other ranks
    return Dataset.rebuild(facts, arrays, drawn)


def _shared_partition(comm: Comm, partition: Partition | Drawn | None) -> Partition | Drawn:
    """Return a Drawn partition with one copy of its sizes on each node, or rank 0's Partition."""
    if not isinstance(partition, Drawn):
        return partition_of(comm, partition)
    mine = {"sizes": partition.sizes} if comm.node_rank == 0 else None
    return Drawn(**comm.share_on_node(mine, "the clients' numbers of samples"))


def _shared_devices(comm: Comm, devices: Devices) -> Devices:
    """Return the Devices, with one copy of their per-client arrays on each node."""
    mine = devices.individual() if comm.node_rank == 0 else None
    shared: dict[str, Any] = {**comm.share_on_node(mine, "the clients' devices")}
    return replace(devices, **shared)


def _sampling(dataset: Dataset, resolved: Resolved) -> Sampling:
    """Return a function of x and targets that gives Samples, normalised as those of the Dataset.

    Raises ConfigError if the loss needs targets of another kind.
    """
    norm = (dataset.mean, dataset.std) if dataset.kind == "image" else (None, None)
    wanted, given, model = resolved.loss.target, dataset.target, resolved.config.model
    following = wanted == "tokens" and given == "class" and dataset.kind == "text"
    if wanted != given and not following:
        fitting = [name for name, loss in LOSSES.items() if loss.target == given]
        raise ConfigError(
            f"model.loss = {model.loss!r}: compares outputs with {KINDS[wanted]}, and data.name = "
            f"{resolved.config.data.name!r} has {KINDS[given]}; use {either(fitting)}"
        )
    return partial(Samples, mean=norm[0], std=norm[1], following=following)


def _targets(classes: Integers, others: AnyArray | None) -> AnyArray:
    """Return the targets of samples: `others` if the data set has them, else the classes."""
    return classes if others is None else others


def _local(config: Config, partition: Partition | Drawn) -> Local:
    """Return the Local training that [clients] and [optimizer] ask for."""
    clients, optimizer = config.clients, config.optimizer
    epochs, largest = clients.local_epochs, max(1, int(partition.sizes.max(initial=0)))
    if epochs is None and clients.local_steps is None:
        epochs = 1
    return Local(
        epochs=epochs,
        steps=clients.local_steps,
        batch_size=largest if clients.batch_size == "all" else clients.batch_size,
        optimizer=optimizer.name,
        lr=optimizer.lr,
        lr_decay=optimizer.lr_decay,
        momentum=optimizer.momentum,
        weight_decay=optimizer.weight_decay,
    )
