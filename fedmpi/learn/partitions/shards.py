"""Label-sorted shards, the split of the first paper on federated averaging.

B. McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized
Data", AISTATS 2017: sort by label, cut into equal shards, give each client two.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.errors import ConfigError
from fedmpi.learn.partitions.partition import Partition, evenly, from_owner


def shards(
    labels: Integers, groups: Integers | None, clients: int, options: Mapping[str, Any],
    rng: np.random.Generator,
) -> Partition:  # fmt: skip
    """Deal `shards_per_client` label-sorted shards to each client; all samples are used.

    Shard sizes differ by at most one sample. A shard may span several labels, so a client may
    hold more labels than it has shards.
    """
    return from_owner(shard_owner(labels, clients, options["shards_per_client"], rng), clients)


def shard_owner(
    labels: Integers, clients: int, per_client: int, rng: np.random.Generator
) -> Integers:
    """Return int64[N]: the client of each sample."""
    total = clients * per_client
    if total > len(labels):
        raise ConfigError(
            f"data.shards_per_client = {per_client}: {clients:,} clients need {total:,} shards, "
            f"but there are {len(labels):,} samples\ntake fewer clients or fewer shards"
        )
    order = by_label(labels, rng)
    owner = np.empty(len(labels), np.int64)
    owner[order] = (rng.permutation(total) // per_client)[evenly(len(labels), total)]
    return owner


def by_label(labels: Integers, rng: np.random.Generator) -> Integers:
    """Return int64[N]: sample indices sorted by label, in random order within a label."""
    order = rng.permutation(len(labels))
    return order[np.argsort(labels[order], kind="stable")]
