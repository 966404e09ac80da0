"""FedLP's mixed split ("M-niid"): a little of everything, and much of two labels.

Z. Zhu et al., "FedLP: Layer-wise Pruning Mechanism for Communication-Computation Efficient
Federated Learning", ICC 2023, arXiv:2303.06360. In the released code the iid part is the
first 5 % of the samples and the shards are cut from all samples, so that some samples are
dealt twice and some shards not at all. Here the iid part is drawn at random, the shards
are cut from the rest, and every sample is used once.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.learn.partitions.partition import Partition, evenly, from_owner
from fedmpi.learn.partitions.shards import shard_owner


def mixed(
    labels: Integers, groups: Integers | None, clients: int, options: Mapping[str, Any],
    rng: np.random.Generator,
) -> Partition:  # fmt: skip
    """Deal a share 1 - `mix_rate` of the samples iid, and the rest as label-sorted shards."""
    order = rng.permutation(len(labels))
    cut = len(labels) - round(options["mix_rate"] * len(labels))
    owner = np.empty(len(labels), np.int64)
    owner[order[:cut]] = evenly(cut, clients)
    if cut < len(labels):
        rest = np.sort(order[cut:])
        owner[rest] = shard_owner(labels[rest], clients, options["shards_per_client"], rng)
    return from_owner(owner, clients)
