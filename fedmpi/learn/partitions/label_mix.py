"""The label mix of each client, which a test set of its own would have."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedmpi.arrays import Integers, Reals
from fedmpi.learn.partitions.partition import Partition, from_owner

BLOCK = 1 << 14  # clients that are counted together


@dataclass(frozen=True, eq=False)
class LabelMix:
    """Shares of the classes among the samples of each client.

    Attributes
    ----------
    mean : float64[C]
        Mean of the shares over all clients that have samples.
    clients : int
        Number of clients that have samples.
    of : callable
        of(clients int64[n]) -> float64[n, C]; zeros for a client without samples.
    """

    mean: Reals
    clients: int
    of: Callable[[Integers], Reals]


def label_mix(partition: Partition, labels: Integers, classes: int) -> LabelMix:
    """Return the LabelMix of a Partition's clients; `labels` int64[N] are those of the samples.

    Each sample is read once, and no memory is kept per client.
    """

    def of(clients: Integers) -> Reals:
        counts = partition.counts_of(clients, labels, classes)
        shares: Reals = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return shares

    total, found = np.zeros(classes), int(np.count_nonzero(partition.sizes))
    for first in range(0, partition.clients, BLOCK):
        total += of(np.arange(first, min(first + BLOCK, partition.clients))).sum(axis=0)
    return LabelMix(total / max(found, 1), found, of)


def tested_mix(groups: Integers | None, labels: Integers, classes: int) -> LabelMix:
    """Return the LabelMix of the test samples of each client; `groups` int64[M] are the clients.

    Used where training samples are drawn on demand. Clients without test samples are left out. If
    `groups` is None, one client has all test samples.
    """
    if groups is None:
        groups = np.zeros(len(labels), np.int64)
    present, owner = np.unique(groups, return_inverse=True)
    mix = label_mix(from_owner(owner, len(present)), labels, classes)
    return LabelMix(mix.mean, mix.clients, lambda some: mix.of(np.searchsorted(present, some)))
