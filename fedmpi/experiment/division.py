"""Who holds what. Needs no torch, so that it can be shown at once."""

from fedmpi.learn import partitions
from fedmpi.learn.data import load
from fedmpi.rng import rng_for


def split_of(resolved, root, cache=None):
    """Return the Dataset and the Partition of an experiment, without building the rest."""
    dataset = load(resolved.config.data.name, root, resolved.data_keys, cache)
    return dataset, split(resolved, dataset)


def split(resolved, dataset):
    """Return the Partition of a Dataset: its training samples, spread over the clients."""
    config = resolved.config
    return partitions.split(
        config.data.partition,
        dataset.y_train,
        dataset.groups_train,
        config.clients.number,
        resolved.partition_keys,
        rng_for(config.run.seed, "partition"),
    )
