"""What is made once, on the first rank, and given to all: the partition and the first weights.

Ranks of different processors would make them with other last bits, users' code perhaps altogether.
"""

import numpy as np

from fedmpi.comm.alike import alike
from fedmpi.errors import FedmpiError
from fedmpi.learn.partitions import Partition


def weights_of(comm, weights):
    """Return rank 0's float32[P], on all ranks; collective. Raises AlikeError for another P."""
    size = comm.share(len(weights))
    with alike(comm):
        if len(weights) != size:
            raise FedmpiError(f"the model of rank {comm.rank} has {len(weights):,} parameters, "
                              f"that of rank 0 has {size:,}; it must be the same on every rank")
    return given(comm, weights.view(np.int32), weights.shape).astype(np.int32).view(np.float32)


def partition_of(comm, partition):
    """Return rank 0's Partition, on all ranks, where it is None; collective."""
    if comm.size == 1:
        return partition
    parts = partition and [partition.order, partition.starts, partition.groups]
    sizes = comm.share(parts and [-1 if part is None else len(part) for part in parts])
    parts = parts or [None] * len(sizes)
    return Partition(*(None if size < 0 else given(comm, part, (size,))
                       for part, size in zip(parts, sizes, strict=True)))


def given(comm, array, shape):
    """Return rank 0's integers, int64[shape], on all ranks; collective."""
    found = np.zeros(shape, np.int64)
    if comm.rank == 0:
        found[...] = array
    return comm.sum_array(found)
