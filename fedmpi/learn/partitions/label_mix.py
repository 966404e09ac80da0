"""The label mix of each client, which a test set of its own would have."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedmpi.arrays import Bools, Integers, Reals
from fedmpi.learn.partitions.partition import Partition, from_owner

BLOCK = 1 << 14  # clients that are counted together


@dataclass(frozen=True, eq=False)
class LabelMix:
    """Shares of the classes among the samples of each client, of classes that can be tested.

    Attributes
    ----------
    mean : float64[C]
        Mean of the shares over all clients that have samples of these classes.
    clients : int
        Number of clients that have samples of these classes.
    of : callable
        of(clients int64[n]) -> float64[n, C]; zeros for a client without samples of these classes.
    """

    mean: Reals
    clients: int
    of: Callable[[Integers], Reals]


def label_mix(
    partition: Partition, labels: Integers, classes: int, tested: Bools | None = None
) -> LabelMix:
    """Return the LabelMix of a Partition's clients; `labels` int64[N] are those of the samples.

    `tested` bool[C] is False for classes that are left out, because nothing is known of them; by
    default there are none. Each sample is read once, and no memory is kept per client.
    """
    known = np.ones(classes, bool) if tested is None else tested

    def of(clients: Integers) -> Reals:
        counts = partition.counts_of(clients, labels, classes) * known
        shares: Reals = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return shares

    total, found = np.zeros(classes), 0
    for first in range(0, partition.clients, BLOCK):
        shares = of(np.arange(first, min(first + BLOCK, partition.clients)))
        total += shares.sum(axis=0)
        found += int(np.count_nonzero(shares.any(axis=1)))
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
