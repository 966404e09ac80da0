"""Each client holds the same small number of classes.

This is the split of FedDIP ("pat", two classes; Q. Long et al., ICDM 2023, arXiv:2309.06805)
and of LG-FedAvg. Unlike with label-sorted shards, the number of classes is exact.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.errors import ConfigError
from fedmpi.learn.partitions.partition import Partition, from_owner
from fedmpi.learn.partitions.shards import by_label

_SWEEPS = 32  # sweeps of random exchanges; a few are enough to forget the initial deal


def pathological(
    labels: Integers, groups: Integers | None, clients: int, options: Mapping[str, Any],
    rng: np.random.Generator,
) -> Partition:  # fmt: skip
    """Give every client exactly `classes_per_client` classes.

    A class has holders in proportion to its size, and is dealt evenly to them. All samples
    are used, except when clients * classes_per_client is less than the number of classes:
    then samples of classes that no client holds are left out.
    """
    per_client = options["classes_per_client"]
    present, sizes = np.unique(labels, return_counts=True)
    if per_client > len(present):
        raise ConfigError(
            f"data.classes_per_client = {per_client}: the data have {len(present)} classes"
        )
    holders = _holders(sizes, clients, per_client)
    held = _mix(_deal(holders, clients, per_client, rng), rng)
    return from_owner(_owner(labels, present, sizes, holders, held, rng), clients)


def _holders(sizes: Integers, clients: int, per_client: int) -> Integers:
    """Return int64[C]: the number of holders of each class, clients * per_client in total.

    Each class has at least one holder if that is possible, and at most one for each of its
    samples. Within these bounds, this is the method of highest averages (D'Hondt).
    """
    wanted = clients * per_client
    most = np.minimum(sizes, clients)
    if most.sum() < wanted:
        raise ConfigError(
            f"data.classes_per_client = {per_client}: {clients:,} clients need {wanted:,} parts "
            f"of classes, but the {sizes.sum():,} samples give {most.sum():,}\n"
            "take fewer clients, or fewer classes for each client"
        )
    least = int(wanted >= len(sizes))
    low, high = 0.0, float(sizes.sum()) + 1  # samples per holder
    for _ in range(60):
        middle = (low + high) / 2
        few = np.clip(sizes // middle, least, most).sum() <= wanted
        low, high = (low, middle) if few else (middle, high)
    holders: Integers = np.clip(sizes // high, least, most).astype(np.int64)
    for _ in range(wanted - holders.sum()):  # ties, at most one for each class
        average = np.where(holders < most, sizes / (holders + 1), -1.0)
        holders[np.argmax(average)] += 1
    return holders


def _deal(
    holders: Integers, clients: int, per_client: int, rng: np.random.Generator
) -> Integers:
    """Return int64[K, per_client]: class numbers, all different within a client.

    Sorted by class, the parts are dealt to the clients in turn. A class has at most K parts,
    so no client gets the same class twice.
    """
    classes = rng.permutation(len(holders))
    parts = np.repeat(classes, holders[classes])
    return np.ascontiguousarray(parts.reshape(per_client, clients).T)


def _mix(held: Integers, rng: np.random.Generator) -> Integers:
    """Return `held` after random exchanges between pairs of clients that keep classes distinct."""
    clients, per_client = held.shape
    half = clients // 2
    for _ in range(_SWEEPS if per_client < held.max() + 1 else 0):
        pairs = rng.permutation(clients)
        one, two = pairs[:half], pairs[half : 2 * half]
        slots = rng.integers(per_client, size=(2, half))
        gives, takes = held[one, slots[0]], held[two, slots[1]]
        good = (held[one] != takes[:, None]).all(1) & (held[two] != gives[:, None]).all(1)
        held[one[good], slots[0][good]] = takes[good]
        held[two[good], slots[1][good]] = gives[good]
    return held[rng.permutation(clients)]


def _owner(
    labels: Integers, present: Integers, sizes: Integers, holders: Integers, held: Integers,
    rng: np.random.Generator,
) -> Integers:  # fmt: skip
    """Return int64[N]: the client of each sample, -1 for classes without a holder."""
    clients = np.repeat(np.arange(len(held)), held.shape[1])
    clients = clients[by_label(held.ravel(), rng)]  # the holders of each class, class by class
    label = np.repeat(np.arange(len(present)), sizes)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    part = rank * holders[label] // sizes[label]
    first = (np.cumsum(holders) - holders)[label]
    owner = np.full(len(labels), -1)
    kept = holders[label] > 0
    owner[by_label(labels, rng)[kept]] = clients[(first + part)[kept]]
    return owner
