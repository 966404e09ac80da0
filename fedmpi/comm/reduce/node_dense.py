"""Sum of full vectors with marks on coordinates, inside a node: see node.py."""

import numpy as np

from fedmpi import kernels
from fedmpi.comm.reduce.field import FLAT, Field
from fedmpi.comm.reduce.node_lists import ListSlot

DENSE = 8  # one touched coordinate in so many is better read from the vector than listed


class DenseSlot(ListSlot):
    """The rows of a node's ranks are vectors, zero where not marked.

    A rank with few marks lists them before the others read: less memory crosses from
    core to core, and its vector is not copied. Vectors are added before lists.

    Attributes
    ----------
    mine : Field
        This rank's row. What is written here need not be copied.
    """

    def __init__(self, node, size, kind, dtype, cover):
        """Open a slot of float32 or int64 rows (`kind`) for int64 or float32 sums (`dtype`).

        cover : bool, True for a weight per coordinate
        """

        def rows(padded, length):
            return {
                "sums": ((node.size, padded), kind),
                "covers": ((node.size, padded if cover else 0), dtype),
                "marks": ((node.size, padded), np.uint8),
            }

        capacity, each = size // DENSE + 1, "each" if cover else ""
        super().__init__(node, size, capacity, kind, dtype, each, rows)
        for array in (self.sums, self.covers, self.marks):
            array[node.rank] = 0
        whole = self.sums[node.rank], self.covers[node.rank], self.marks[node.rank]
        self.mine = Field(*(array[:size] for array in whole), FLAT)

    def reduce(self, given, scale, weight):
        """Add up what the ranks give, `given` (Field) being this rank's, into the sum.

        float32 is multiplied by `scale` and rounded if sums are int64.
        """
        kernels.merge.loads(given.touched, FLAT, self.width, self.loads[self.node.rank])
        lo, hi = self.tell(self._list(given), scale, weight)
        many = np.flatnonzero(self.counts < 0)
        if many.size:
            rows = self.sums, self.covers, self.marks.view(np.uint64), self.scales
            kernels.owner.dense(self.total, self.cover, self.touched, lo, hi, many, *rows)
        self.add(lo, hi, first=many.size == 0)

    def _list(self, given):
        """List a contribution if it has few marks and return their number; or copy it, -1."""
        mine, count = self.mine, int(self.loads[self.node.rank].sum())
        if count <= self.capacity:
            units, values, weights = self.row
            kernels.pack.positions(given.touched, units[:count])
            whole = given.total, given.cover, FLAT, 0, self.size
            kernels.merge.take(*whole, units[:count], values, weights)
            return count
        if not np.may_share_memory(given.total, mine.total):
            mine.total[:] = given.total
            mine.cover[:] = given.cover
            mine.touched[:] = given.touched
        return -1
