"""Every client draws from the same pot."""

import numpy as np

from fedmpi.learn.partitions.partition import even_cuts, from_owner


def iid(labels, groups, clients, options, rng):
    """Deal all samples at random; client sizes differ by at most one."""
    owner = np.empty(len(labels), np.int64)
    owner[rng.permutation(len(labels))] = np.repeat(
        np.arange(clients), np.diff(even_cuts(len(labels), clients))
    )
    return from_owner(owner, clients)
