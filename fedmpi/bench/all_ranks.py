"""Exchange measurements between the ranks of a benchmark."""

from typing import TYPE_CHECKING

import numpy as np

from fedmpi.arrays import AnyArray

if TYPE_CHECKING:
    from fedmpi.comm.mpi import Raw


def of_all(raw: "Raw", number: float) -> AnyArray:
    """Return the `number` of each rank, int64[P] or float64[P]; collective."""
    mine = np.array([number])
    every = np.empty(raw.size, mine.dtype)
    raw.Allgather(mine, every)
    return every
