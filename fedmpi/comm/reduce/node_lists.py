"""Sum of lists of coordinates, inside a node: see node.py."""

import numpy as np

from fedmpi import kernels
from fedmpi.comm.reduce.field import FLAT
from fedmpi.comm.reduce.node import Slot

FEW = 8  # results with fewer than one in so many coordinates are cleared by list
ZERO, LISTED, MARKED = range(3)  # where the last result is to be cleared from


class ListSlot(Slot):
    """The rows of a node's ranks are ascending indices and their values.

    Attributes
    ----------
    units : uint32[capacity], values : float32 or int64[capacity]
        This rank's row, to be written before `reduce`, which does not change it.
    """

    def __init__(self, node, size, capacity, kind, dtype, cover):
        """Open a slot of float32 or int64 values (`kind`) for int64 or float32 sums (`dtype`)."""

        def rows(padded, length):
            return {
                "indices": ((node.size, capacity), np.uint32),
                "terms": ((node.size, capacity), kind),
                "counts": (node.size, np.int64),
            }

        super().__init__(node, size, FLAT, dtype, cover, rows)
        self.capacity = capacity
        self.row = self.indices[node.rank], self.terms[node.rank]
        self._room = np.empty(self.total.size + 1, np.uint32)
        self._fresh, self._state = self._room[:0], ZERO

    def write(self, indices, values):
        """Copy a private list into this rank's row, unless it lies there."""
        if not np.may_share_memory(indices, self.row[0]):
            self.row[0][: indices.size] = indices
            self.row[1][: values.size] = values

    def changed(self):
        """Take note that the sum was changed since; all ranks of the node together."""
        self._state = MARKED

    def reduce(self, count, scale, weight):
        """Add up the lists, this rank's being `count` long, into the sum.

        float32 values are multiplied by `scale` and rounded if sums are int64.
        """
        rank = self.node.rank
        self.counts[rank] = count
        kernels.merge.list_loads(self.row[0][:count], self.width, self.loads[rank])
        lo, hi = self.tell(scale, weight)
        out = self.total, self.cover, self.touched
        if self._state == LISTED:
            kernels.owner.forget(*out, self._fresh)
            self.sync()  # the lists were of other ranges
        few = FEW * int(self.counts.sum()) < self.size
        fresh = self._room[: hi - lo + 1 if few else 0]
        rows = self.counts, self.indices, self.terms, self.scales, self.weights
        scan = self._state == MARKED
        found = kernels.owner.lists(*out, lo, hi, *rows, scan, fresh)
        self._fresh, self._state = fresh[:found], LISTED if few else MARKED
        self.found[rank] = found
        self.sync()
