"""Everything that a run needs, put together once on every rank."""

from dataclasses import replace

import numpy as np

from fedmpi.algorithm import Setting
from fedmpi.comm.alike import alike
from fedmpi.experiment.division import split
from fedmpi.experiment.first_rank import partition_of, weights_of
from fedmpi.experiment.node_engine import node_engine
from fedmpi.learn.augment import augmentation_of
from fedmpi.learn.data import Dataset, load
from fedmpi.learn.engine import ClientData
from fedmpi.learn.local import Local
from fedmpi.learn.partitions import Drawn
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
        here = comm.rank == 0 or dataset.on_demand
        partition = split(resolved, dataset) if here else None
        devices = devices_of(resolved.config, resolved.config.run.seed)
    if not dataset.on_demand:
        partition = partition_of(comm, partition)
    partition, devices = _shared_partition(comm, partition), _shared_devices(comm, devices)
    homes = comm.node_zeros((len(partition.sizes),), np.int32)
    memories = ClientStore(homes, resolved.config.run.memory_mb * 1_000_000)
    train, test = _samples(dataset)
    with alike(comm):
        data = _client_data(resolved.config, dataset, train, partition)
    sample, _ = test.take(np.zeros(1, np.int64))
    on_step = (progress or Progress()).step
    engine = node_engine(resolved, comm, dataset.classes, sample, data, on_step)
    with alike(comm):
        made = _assembled(resolved, dataset, test, engine, devices, memories)
    return replace(made, weights=weights_of(comm, made.weights))


def _client_data(config, dataset, train, partition):
    """Return what clients train on, from the training Samples."""
    augment = augmentation_of(config.data.augment, dataset)
    draw = _drawing(dataset, partition) if dataset.on_demand else None
    local = _local(config, partition)
    return ClientData(train, partition, local, config.run.seed, augment, draw)


def _assembled(resolved, dataset, test, engine, devices, memories):
    """Return the Experiment with an Engine; every rank makes its own."""
    config = resolved.config
    seed = config.run.seed
    partition, labels = engine.data.partition, None
    if not dataset.on_demand:
        labels = partition.counts(dataset.y_train, dataset.classes) > 0
    facts = {"labels": labels, "flow": engine.flow}
    algorithm = _algorithm(resolved, engine, devices, memories, facts)
    return Experiment(
        config=config,
        dataset=dataset,
        test=test,
        devices=devices,
        schedule=schedule_of(config.schedule),
        engine=engine,
        algorithm=algorithm,
        stages=_stages(resolved, algorithm),
        selector=resolved.selector(resolved.selector_keys, seed, config.clients.number),
        server=ServerOptimizer(config.server),
        weights=engine.initial_weights,
        memories=memories,
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
        gates=None if gates is None else _left_by_gates(engine.layout, gates),
        policy=config.devices.policy if config.devices.knob == "method" else "fixed",
        fit=costs.fit,
        steps=costs.steps,
        memory=lambda client: without_stages(memories[client]),
        accuracy=engine.accuracy,
        **facts,
    )
    return resolved.algorithm(resolved.algorithm_keys, setting)


def _left_by_gates(layout, gates):
    from fedmpi.learn.gates import left_by_gates  # needs torch, and so do clients with gates

    return left_by_gates(layout, gates)


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


def _shared_dataset(resolved, comm, root, cache):
    """Load the data once on each node, and give all its ranks views of that copy."""
    name, arrays, facts, drawn = resolved.config.data.name, None, None, None

    def loaded():
        return load(name, root, resolved.data_keys, cache)

    with alike(comm):
        if comm.node_rank == 0:
            dataset = loaded()
            arrays, drawn = dataset.arrays(), dataset.on_demand
            facts = dataset.facts() | {"on_demand": drawn is not None}
    arrays, facts = comm.share_on_node(arrays, f"data.name = {name!r}"), comm.share(facts)
    with alike(comm):
        if facts.pop("on_demand") and drawn is None:
            drawn = loaded().on_demand  # functions do not travel
    return Dataset.rebuild(facts, arrays, drawn)


def _shared_partition(comm, partition):
    """Return a Drawn partition whose sizes lie once on each node; a Partition as it is."""
    if not isinstance(partition, Drawn):
        return partition
    mine = {"sizes": partition.sizes} if comm.node_rank == 0 else None
    return Drawn(**comm.share_on_node(mine, "the clients' numbers of samples"))


def _shared_devices(comm, devices):
    """Return the Devices with the arrays in which clients differ once on each node."""
    mine = devices.individual() if comm.node_rank == 0 else None
    return replace(devices, **comm.share_on_node(mine, "the clients' devices"))


def _samples(dataset):
    """Return the train and test Samples of a Dataset, normalised alike."""
    return (
        Samples(dataset.x_train, dataset.y_train, *_norm(dataset)),
        Samples(dataset.x_test, dataset.y_test, *_norm(dataset)),
    )


def _norm(dataset):
    """Return mean and standard deviation of the channels of images; None, None for others."""
    return (dataset.mean, dataset.std) if dataset.kind == "image" else (None, None)


def _drawing(dataset, partition):
    """Return a function of a client: the Samples that it draws."""

    def draw(client):
        return Samples(*dataset.client(client, int(partition.sizes[client])), *_norm(dataset))

    return draw


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
