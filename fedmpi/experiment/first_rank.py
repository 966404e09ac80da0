"""Values that rank 0 computes and sends to all ranks: the partition and the first weights.

Ranks on different processors would compute them with different last bits, and users' code may give
each rank something else entirely.
"""

from collections.abc import Sequence

import numpy as np

from fedmpi.arrays import AnyArray, Integers, Vector
from fedmpi.comm.alike import alike
from fedmpi.comm.base import Comm
from fedmpi.errors import FedmpiError
from fedmpi.learn.partitions import Partition


def weights_of(comm: Comm, weights: Vector) -> Vector:
    """Return rank 0's float32[P] on all ranks; collective. Raises AlikeError if P differs."""
    size = comm.share(len(weights))
    with alike(comm):
        if len(weights) != size:
            raise FedmpiError(f"the model of rank {comm.rank} has {len(weights):,} parameters, "
                              f"that of rank 0 has {size:,}; it must be the same on every rank")
    bits = broadcast(comm, weights.view(np.int32) if comm.rank == 0 else None, weights.shape)
    return bits.astype(np.int32).view(np.float32)


def partition_of(comm: Comm, partition: Partition | None) -> Partition:
    """Return rank 0's Partition on all ranks; other ranks pass None; collective."""
    if comm.size == 1 and partition is not None:
        return partition
    parts: dict[str, AnyArray | None] = {}
    if partition is not None:
        parts = {**partition.arrays(), "groups": partition.groups}
    sizes = comm.share({name: len(part) for name, part in parts.items() if part is not None})
    found = {name: broadcast(comm, parts.get(name), [size]) for name, size in sizes.items()}
    return Partition(**found)


def broadcast(comm: Comm, array: AnyArray | None, shape: Sequence[int]) -> Integers:
    """Return rank 0's integers int64[shape] on all ranks; other ranks pass None; collective."""
    found = np.zeros(tuple(shape), np.int64)
    if array is not None:
        found[...] = array
    return comm.sum_array(found)
