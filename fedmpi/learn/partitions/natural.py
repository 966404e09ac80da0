"""The natural clients of a data set: each is one writer, role or device."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.errors import ConfigError
from fedmpi.learn.partitions.partition import Partition, from_owner


def natural(
    labels: Integers, groups: Integers | None, clients: int, options: Mapping[str, Any],
    rng: np.random.Generator,
) -> Partition:  # fmt: skip
    """Make each client one natural group of at least `min_samples` samples.

    If there are more such groups than clients, the groups are drawn at random, and samples of
    the remaining groups are not used. Clients are in the order of their groups' numbers.
    """
    if groups is None:
        raise ConfigError(
            "data.partition = 'natural': this data set has no natural clients\n"
            "take mnist-writers, shakespeare or synthetic, or another partition; your own data "
            "have those that you give to Dataset.of as groups"
        )
    present, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    large = np.flatnonzero(sizes >= options["min_samples"])
    if clients > len(large):
        raise ConfigError(
            f"clients.number = {clients}: the data have {len(large)} natural clients with at "
            f"least {options['min_samples']} samples (data.min_samples); take fewer clients"
        )
    chosen = np.sort(rng.choice(large, clients, replace=False))
    client = np.full(len(present), -1)
    client[chosen] = np.arange(clients)
    return from_owner(client[group], clients, present[chosen])
