"""Sum of lists of coordinates, inside a node: see node.py."""

import numpy as np

from fedmpi import kernels
from fedmpi.comm.reduce.field import FLAT
from fedmpi.comm.reduce.node import Slot

FEW = 8  # results with fewer than one in so many coordinates are cleared by list
ZERO, LISTED, MARKED = range(3)  # how the last result can be cleared


class ListSlot(Slot):
    """The rows of a node's ranks are ascending indices and their values.

    Attributes
    ----------
    row : (uint32[capacity], float32 or int64[capacity], weights)
        This rank's indices, values and weights, to be written before `reduce`, which
        does not change them. The weights are one for each coordinate or, if `cover` is
        not "each", one for the whole list.
    """

    def __init__(self, node, size, capacity, kind, dtype, cover, more=None):
        """Open a slot of float32 or int64 values (`kind`) for int64 or float32 sums (`dtype`).

        cover : "each" or "one", the weights of coordinates; or "", none
        more : function like the `rows` of Slot, for further arrays
        """

        def rows(padded, length):
            weights = {"each": capacity, "one": 1}.get(cover, 0)
            arrays = {
                "indices": ((node.size, capacity), np.uint32),
                "terms": ((node.size, capacity), kind),
                "coverings": ((node.size, weights), dtype),
            }
            return arrays | (more(padded, length) if more else {})

        super().__init__(node, size, FLAT, dtype, bool(cover), rows)
        self.capacity = capacity
        self.row = tuple(rows[node.rank] for rows in (self.indices, self.terms, self.coverings))
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
        kernels.merge.list_loads(self.row[0][:count], self.width, self.loads[self.node.rank])
        self.row[2][:1] = weight
        self.add(*self.tell(count, scale, weight))

    def add(self, lo, hi, first=True):
        """Add up the lists in our range; if not `first`, to what is already summed there.

        A count below 0 stands for no list.
        """
        out, counts = (self.total, self.cover, self.touched), np.maximum(self.counts, 0)
        if first and self._state == LISTED:
            kernels.owner.forget(*out, self._fresh)
            self.sync()  # the lists were of other ranges
        few = first and FEW * int(counts.sum()) < self.size
        fresh = self._room[: hi - lo + 1 if few else 0]
        rows = counts, self.indices, self.terms, self.scales, self.coverings
        found = kernels.owner.lists(*out, lo, hi, *rows, first and self._state == MARKED, fresh)
        self._fresh, self._state = fresh[:found], LISTED if few else MARKED
        self.found[self.node.rank] = found
        self.sync()
