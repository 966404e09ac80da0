"""Everything that a run needs, put together once on every rank."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np

from fedmpi import named
from fedmpi.algorithm import Setting
from fedmpi.comm.alike import alike
from fedmpi.errors import ConfigError
from fedmpi.experiment.division import split
from fedmpi.experiment.first_rank import partition_of, weights_of
from fedmpi.learn.augment import augmentation_of
from fedmpi.learn.base_weights import load_base
from fedmpi.learn.constants import freeze
from fedmpi.learn.data import Dataset, load
from fedmpi.learn.engine import ClientData, OnDevice
from fedmpi.learn.engines import engine_for
from fedmpi.learn.gates import gated, left_by_gates
from fedmpi.learn.gpus import device_for
from fedmpi.learn.local import Local
from fedmpi.learn.lora import adapt
from fedmpi.learn.losses import KINDS, LOSSES
from fedmpi.learn.metrics import column_of
from fedmpi.learn.models import build
from fedmpi.learn.sample_arrays import Samples
from fedmpi.round.costs import Costs
from fedmpi.round.fixed import Experiment
from fedmpi.round.memories import ClientStore
from fedmpi.round.progress import Progress
from fedmpi.round.server_optimizer import ServerOptimizer
from fedmpi.stages import StageSetting, without_stages
from fedmpi.world.devices import devices_of
from fedmpi.world.schedule import schedule_of


def assemble(resolved, comm, root, cache=None, progress=None, stage=str):
    """Return the Experiment of a Resolved configuration; collective over `comm`.

    `root` is the folder of the data sets and `cache` one for noting verified files. The
    first rank of each node reads the data; all ranks of the node share its copy. What cannot
    be is an AlikeError on all ranks (alone: the error itself). `progress` counts each step of
    the training, and `stage` is called with a text at each step of the start.
    """
    stage(f"reading the data set {resolved.config.data.name}")
    dataset = _shared_dataset(resolved, comm, root, cache)
    stage(f"splitting it over {resolved.config.clients.number:,} clients, building the model")
    with alike(comm):
        partition = split(resolved, dataset) if comm.rank == 0 else None
    partition = partition_of(comm, partition)
    memories = ClientStore(comm.node_zeros((len(partition.sizes),), np.int32))
    with alike(comm):
        on = _on_device(resolved.config, comm)
        made = _assembled(resolved, dataset, partition, memories, progress or Progress(), on)
    return replace(made, weights=weights_of(comm, made.weights))


def _on_device(config, comm):
    """Return where this rank computes."""
    run = config.run
    device = device_for(run.device, comm.node_rank, comm.node_size)
    return OnDevice(device, run.chunk, run.precision, config.selected)


def _assembled(resolved, dataset, partition, memories, progress, on):
    """Return the Experiment on a divided Dataset; every rank makes its own."""
    config = resolved.config
    seed = config.run.seed
    train, test = _samples(dataset, resolved)
    shape = dataset.x_train.shape[1:]
    sample, _ = train.take(np.zeros(1, np.int64))
    augment = augmentation_of(config.data.augment, dataset)
    local, loss = _local(config, partition), config.model.loss
    data = ClientData(train, partition, local, seed, augment, loss)
    engine = _engine(resolved, shape, dataset.classes, sample, data, progress.step, on)
    _check_outputs(engine, config.model, dataset.classes, train)
    devices = devices_of(config, seed)
    counts = partition.counts(dataset.y_train, dataset.classes)
    facts = {"labels": counts > 0, "flow": engine.flow}
    algorithm = _algorithm(resolved, engine, devices, memories, facts)
    return Experiment(
        config=config,
        dataset=dataset,
        test=test,
        counts=counts,
        work=data.local.samples_of(partition.sizes).astype(np.float64),
        devices=devices,
        schedule=schedule_of(config.schedule),
        engine=engine,
        algorithm=algorithm,
        stages=_stages(resolved, algorithm),
        selector=resolved.selector(resolved.selector_keys, seed, config.clients.number),
        server=ServerOptimizer(config.server),
        weights=engine.initial_weights,
        memories=memories,
        metrics=tuple((column_of(name), metric()) for name, metric in resolved.metrics.items()),
    )


def _algorithm(resolved, engine, devices, memories, facts):
    """Return the method of a run, with all that it may ask; `facts` are more of its Setting."""
    config, gates = resolved.config, resolved.algorithm.gates(resolved.algorithm_keys)
    costs = Costs(config, engine, devices)
    setting = Setting(
        layout=engine.layout,
        seed=config.run.seed,
        rounds=config.run.rounds,
        clients=config.clients.number,
        exact=config.run.sum == "exact",
        speed=devices.speed,
        optimizer=config.optimizer,
        gates=None if gates is None else left_by_gates(engine.layout, gates),
        policy=config.devices.policy if config.devices.knob == "method" else "fixed",
        fit=costs.fit,
        steps=costs.steps,
        memory=lambda client: without_stages(memories[client]),
        accuracy=engine.accuracy,
        **facts,
    )
    return resolved.algorithm(resolved.algorithm_keys, setting)


def _stages(resolved, algorithm):
    """Return the stages of a run, and let the sums of `algorithm` take what they leave."""
    layout, seed = algorithm.layout, resolved.config.run.seed
    stages = tuple(
        stage(keys, StageSetting(layout, seed, number))
        for number, (stage, keys) in enumerate(resolved.stages)
    )
    for stage in stages:
        if stage.sparse:
            algorithm.allow_sparse(f"stage {stage.name}")
    for stage in stages:
        stage.check(algorithm.zero())
    return stages


def _engine(resolved, shape, classes, sample, data, on_step, on):
    """Return the Engine of a run, with its model."""
    config, algorithm = resolved.config, resolved.algorithm
    name, gates = config.model.name, algorithm.gates(resolved.algorithm_keys)

    def make(options):
        module = build(name, shape, classes, resolved.model_keys | options, data.seed)
        if config.model.base is not None:
            load_base(module, config.model.base)
        if config.model.adapter is not None:
            adapt(module, config.model.adapter, data.seed)
        freeze(module, config.model.frozen)
        return module if gates is None else gated(module, gates, data.seed)

    run, torch_only = config.run, algorithm.torch_only
    with named.blamed(f"model.name = {name!r}") if ":" in name else nullcontext():
        return engine_for(
            make, sample, data, run.engine, run.threads_per_rank, on_step, torch_only, on
        )


def _shared_dataset(resolved, comm, root, cache):
    """Load the data once on each node, and give all its ranks views of that copy."""
    name, arrays, facts = resolved.config.data.name, None, None
    with alike(comm):
        if comm.node_rank == 0:
            dataset = load(name, root, resolved.data_keys, cache)
            arrays, facts = dataset.arrays(), dataset.facts()
    arrays = comm.share_on_node(arrays, f"data.name = {name!r}")
    return Dataset.rebuild(comm.share(facts), arrays)


def _samples(dataset, resolved):
    """Return the train and test Samples of a Dataset, normalised alike.

    Raises ConfigError if the loss is of another kind than their targets.
    """
    norm = (dataset.mean, dataset.std) if dataset.kind == "image" else (None, None)
    wanted, given, model = resolved.loss.target, dataset.target, resolved.config.model
    following = wanted == "tokens" and given == "class" and dataset.kind == "text"
    if wanted != given and not following:
        fitting = [name for name, loss in LOSSES.items() if loss.target == given]
        raise ConfigError(
            f"model.loss = {model.loss!r}: compares outputs with {KINDS[wanted]}, and data.name = "
            f"{resolved.config.data.name!r} has {KINDS[given]}; use {' or '.join(fitting)}"
        )
    halves = (
        (dataset.x_train, dataset.y_train, dataset.targets_train),
        (dataset.x_test, dataset.y_test, dataset.targets_test),
    )
    return tuple(
        Samples(x, y if targets is None else targets, *norm, following=following)
        for x, y, targets in halves
    )


def _check_outputs(engine, model, classes, samples):
    """Raise ConfigError unless the outputs of a model have the shape that its loss needs."""
    x, y = samples.take(np.zeros(1, np.int64))
    found = engine.outputs(engine.initial_weights, x).shape
    wanted = y.shape if y.dtype.kind == "f" else (*y.shape, classes)
    spare = y.dtype.kind == "i" and found[:-1] == wanted[:-1] and found[-1] > wanted[-1]
    if found != wanted and not spare:
        raise ConfigError(
            f"model.name = {model.name!r}: gives outputs of shape {_shape(found)}, and "
            f"model.loss = {model.loss!r} needs {_shape(wanted)} for these data"
        )


def _shape(shape):
    return f"[{', '.join(['N', *map(str, shape[1:])])}]"


def _local(config, partition):
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
