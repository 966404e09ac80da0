"""The iid split: every client draws from the same distribution."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.learn.partitions.partition import Partition, evenly, from_owner


def iid(
    labels: Integers, groups: Integers | None, clients: int, options: Mapping[str, Any],
    rng: np.random.Generator,
) -> Partition:  # fmt: skip
    """Deal all samples at random; client sizes differ by at most one."""
    owner = np.empty(len(labels), np.int64)
    owner[rng.permutation(len(labels))] = evenly(len(labels), clients)
    return from_owner(owner, clients)
