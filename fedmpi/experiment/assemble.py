"""Everything that a run needs, put together once on every rank."""

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fedmpi import flops, named
from fedmpi.algorithms import Setting
from fedmpi.errors import AlikeError, FedmpiError
from fedmpi.experiment.division import split
from fedmpi.learn.augment import augmentation_of
from fedmpi.learn.data import Dataset, load
from fedmpi.learn.engines import engine_of
from fedmpi.learn.gates import gated, left_by_gates
from fedmpi.learn.models import build
from fedmpi.learn.networks import Networks
from fedmpi.learn.partitions import held_out
from fedmpi.learn.samples import Samples
from fedmpi.learn.trainer import Local, Trainer
from fedmpi.plan import FULL
from fedmpi.rng import rng_for
from fedmpi.round.cohort import cohort_of
from fedmpi.round.server_optimizer import Server
from fedmpi.world.availability import available, dropped
from fedmpi.world.devices import Devices, devices_of
from fedmpi.world.schedule import Schedule, schedule_of


@dataclass(frozen=True, eq=False)
class Experiment:
    """The fixed parts of a run.

    `counts` is int64[K, classes], samples of each client and class; `work` float64[K], the
    predicted work of a client in samples; `weights` float32[P], the first global weights.
    """

    config: object
    dataset: Dataset
    test: Samples
    counts: np.ndarray
    work: np.ndarray
    devices: Devices
    schedule: Schedule
    engine: object
    trainer: Trainer
    algorithm: object
    server: Server
    weights: np.ndarray

    @property
    def layout(self):
        """The shape of the model."""
        return self.engine.layout

    def cohort(self, round):
        """Return the Cohort of a round: of those who are there, and with who will be lost."""
        config, devices, seed = self.config, self.devices, self.config.run.seed
        sizes = np.where(available(devices, seed, round), self.trainer.partition.sizes, 0)
        cohort = cohort_of(seed, round, sizes, config.selected, config.clients.weighting)
        return replace(cohort, dropped=dropped(devices, cohort.clients, seed, round))

    @cached_property
    def _flops_of_a_sample(self):
        """Of training the whole model on one sample."""
        return flops.count(self.layout).sum()

    def flops(self, plan, report):
        """Return the floating-point operations behind a client's Report."""
        parts = (plan.submodel, plan.mask, plan.gates, plan.update)
        if plan.backward is FULL and not report.probed and all(part is None for part in parts):
            return report.seen * self._flops_of_a_sample
        layout = self.trainer.networks.of(plan.submodel).layout
        return flops.of_plan(layout, plan, report.seen, report.probed).sum()

    def flops_inference(self, state):
        """Return the floating-point operations of one sample through the global model."""
        gates = self.algorithm.setting.gates
        return flops.inference(self.layout, self.algorithm.kept(state), gates)

    @cached_property
    def test_split(self):
        """The Partition of the test samples over the clients, by the labels that each holds."""
        data, classes = self.dataset, self.dataset.classes
        rng = rng_for(self.config.run.seed, "test-split")
        test = (data.y_test, data.groups_test)
        return held_out(self.trainer.partition, data.y_train, test, classes, rng)


def assemble(resolved, comm, root, cache=None, stage=str):
    """Return the Experiment of a Resolved configuration; collective over `comm`.

    `root` is the folder of the data sets and `cache` one for noting verified files. The
    first rank of each node reads the data; all ranks of the node share its copy. `stage` is
    called with a text at each step. What cannot be is an AlikeError on all ranks (alone: the
    error itself).
    """
    stage(f"reading the data set {resolved.config.data.name}")
    dataset = _shared_dataset(resolved, comm, root, cache)
    stage(f"splitting it over {resolved.config.clients.number:,} clients, building the model")
    with _alike(comm):
        return _assembled(resolved, dataset)


@contextmanager
def _alike(comm):
    """Raise what this block raises as a FedmpiError on one rank on all of them; collective."""
    fault = None
    try:
        yield
    except FedmpiError as error:
        if comm.size == 1:
            raise
        fault = error
    rows = [(fault.exit_code, str(fault).encode())] if fault else []
    rows = comm.gather_rows(np.array(rows, [("code", "<i4"), ("text", "S1200")]))
    if len(rows):
        raise AlikeError(rows["text"][0].decode(errors="replace"), int(rows["code"][0])) from fault


def _assembled(resolved, dataset):
    """Return the Experiment on a Dataset; every rank makes its own."""
    config = resolved.config
    seed = config.run.seed
    partition = split(resolved, dataset)
    train, test = _samples(dataset)
    shape = dataset.x_train.shape[1:]
    sample, _ = train.take(np.zeros(1, np.int64))
    networks, weights = _networks(resolved, shape, dataset.classes, sample)
    layout, gates = networks.whole.layout, resolved.algorithm.gates(resolved.algorithm_keys)
    devices = devices_of(config, seed)
    setting = Setting(
        layout=layout,
        seed=seed,
        rounds=config.run.rounds,
        clients=config.clients.number,
        exact=config.run.sum == "exact",
        speed=devices.speed,
        optimizer=config.optimizer,
        gates=None if gates is None else left_by_gates(layout, gates),
    )
    local, augment = _local(config), augmentation_of(config.data.augment, dataset)
    return Experiment(
        config=config,
        dataset=dataset,
        test=test,
        counts=partition.counts(dataset.y_train, dataset.classes),
        work=local.samples_of(partition.sizes).astype(np.float64),
        devices=devices,
        schedule=schedule_of(config.schedule),
        engine=networks.whole.engine,
        trainer=Trainer(networks, train, partition, local, seed, augment),
        algorithm=resolved.algorithm(resolved.algorithm_keys, setting),
        server=Server(config.server),
        weights=weights,
    )


def _networks(resolved, shape, classes, sample):
    """Return the Networks of a run, and the first weights float32[P] of the whole model."""
    config, algorithm = resolved.config, resolved.algorithm
    seed, gates = config.run.seed, algorithm.gates(resolved.algorithm_keys)
    trainer = "torch" if algorithm.torch_only else config.run.trainer

    def make(options):
        keys = resolved.model_keys | options
        module = build(config.model.name, shape, classes, keys, seed)
        return module if gates is None else gated(module, gates, seed)

    def engine(module):
        threads, batch_size = config.run.threads_per_rank, config.clients.batch_size
        return engine_of(module, sample, trainer, threads, batch_size)

    name = config.model.name
    with named.blamed(f"model.name = {name!r}") if ":" in name else nullcontext():
        whole, weights = engine(make({}))
    return Networks(make, whole, sample, engine), weights


def _shared_dataset(resolved, comm, root, cache):
    """Load the data once on each node, and give all its ranks views of that copy."""
    name, arrays, facts = resolved.config.data.name, None, None
    with _alike(comm):
        if comm.node_rank == 0:
            dataset = load(name, root, resolved.data_keys, cache)
            arrays, facts = dataset.arrays(), dataset.facts()
    arrays = comm.share_on_node(arrays)
    return Dataset.rebuild(comm.share(facts), arrays)


def _samples(dataset):
    """Return the train and test Samples of a Dataset, normalised alike."""
    norm = (dataset.mean, dataset.std) if dataset.kind == "image" else (None, None)
    return (
        Samples(dataset.x_train, dataset.y_train, *norm),
        Samples(dataset.x_test, dataset.y_test, *norm),
    )


def _local(config):
    clients, optimizer = config.clients, config.optimizer
    epochs = clients.local_epochs
    if epochs is None and clients.local_steps is None:
        epochs = 1
    return Local(
        epochs=epochs,
        steps=clients.local_steps,
        batch_size=clients.batch_size,
        optimizer=optimizer.name,
        lr=optimizer.lr,
        lr_decay=optimizer.lr_decay,
        momentum=optimizer.momentum,
        weight_decay=optimizer.weight_decay,
    )
