"""Local test sets: test samples for each client that resemble its training samples."""

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.learn.partitions.partition import Partition, from_owner
from fedmpi.learn.partitions.shards import by_label


def held_out(
    partition: Partition, train: Integers, test: tuple[Integers, Integers | None], classes: int,
    rng: np.random.Generator,
) -> Partition:  # fmt: skip
    """Return the Partition of the test samples over the clients of `partition`.

    A client with a natural group gets the test samples of that group. Otherwise each class
    is divided in proportion to the clients' training samples of that class, so that the
    local test sets have the clients' own label mix (LG-FedAvg, FedDIP). A client may get
    no test samples. Test samples of classes or groups that no client holds are left out.

    Parameters
    ----------
    partition : Partition
        The partition of the training samples.
    train : int64[N]
        Labels of the training samples.
    test : pair of int64[M]
        Labels and natural groups of the test samples; the groups may be None.
    classes : int
    rng : numpy.random.Generator
    """
    labels, groups = test
    if partition.groups is not None and groups is not None:
        place = np.searchsorted(partition.groups, groups)
        place = np.minimum(place, partition.clients - 1)
        found = partition.groups[place] == groups
        return from_owner(np.where(found, place, -1), partition.clients, partition.groups)
    counts = partition.counts(train, classes)
    order = by_label(labels, rng)
    sizes = np.bincount(labels, minlength=classes)
    owner = np.full(len(labels), -1)
    start = 0
    for label, size in enumerate(sizes):
        if counts[:, label].any():
            got = _largest_remainders(counts[:, label], size, rng)
            owner[order[start : start + size]] = np.repeat(np.arange(partition.clients), got)
        start += size
    return from_owner(owner, partition.clients)


def _largest_remainders(weights: Integers, size: int, rng: np.random.Generator) -> Integers:
    """Return int64[K] that adds up to `size` in proportion to `weights`; ties are random."""
    exact = weights * size  # in units of 1 / weights.sum(), so that integers suffice
    got, rest = np.divmod(exact, weights.sum())
    ties = rng.permutation(len(weights))
    first = ties[np.argsort(-rest[ties], kind="stable")]
    got[first[: size - got.sum()]] += 1
    return got
