"""The partition of samples over clients. Needs no torch, so that it can be shown at once."""

from pathlib import Path

from fedmpi.experiment.resolve import Resolved
from fedmpi.learn import partitions
from fedmpi.learn.data import Dataset, load
from fedmpi.learn.partitions import Drawn, Partition
from fedmpi.rng import rng_for


def split_of(
    resolved: Resolved, root: Path | None, cache: Path | None
) -> tuple[Dataset, Partition | Drawn]:
    """Return the Dataset and the Partition of an experiment, without building the rest."""
    dataset: Dataset = load(resolved.config.data.name, root, resolved.data_keys, cache)
    return dataset, split(resolved, dataset)


def split(resolved: Resolved, dataset: Dataset) -> Partition | Drawn:
    """Return the Partition of the training samples over the clients, or Drawn if they draw them."""
    config = resolved.config
    if dataset.on_demand:
        clients = config.clients.number
        return partitions.drawn(config.data.partition, dataset.on_demand.sizes(clients), clients)
    found: Partition = partitions.split(
        config.data.partition,
        dataset.y_train,
        dataset.groups_train,
        config.clients.number,
        resolved.partition_keys,
        rng_for(config.run.seed, "partition"),
    )
    return found
