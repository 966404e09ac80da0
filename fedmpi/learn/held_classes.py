"""The classes, labels or tokens that each client has among its targets."""

import numpy as np

from fedmpi.arrays import Bools
from fedmpi.learn.partitions import Partition
from fedmpi.learn.sample_arrays import Samples

BLOCK = 1 << 16  # samples whose targets are looked at together, to save memory


def held_classes(
    samples: Samples, partition: Partition, classes: int, target: str
) -> Bools | None:
    """Return bool[K, classes]: True for each class, label or token among a client's targets.

    `target` is the kind of the targets, one of losses.TARGETS. The result is None for numbers,
    which have no classes.
    """
    if target == "numbers":
        return None
    found = np.zeros((partition.clients, classes), bool)
    for at in range(0, len(partition.order), BLOCK):
        owner = partition.owner[at : at + BLOCK]
        targets = samples.targets(partition.order[at : at + BLOCK])
        if target == "labels":
            sample, label = np.nonzero(targets)
            found[owner[sample], label] = True
        else:
            found[owner.reshape(-1, *[1] * (targets.ndim - 1)), targets] = True
    return found
