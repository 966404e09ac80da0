"""Sum of full vectors with marks on coordinates, inside a node: see node.py."""

import numpy as np

from fedmpi import kernels
from fedmpi.comm.reduce.field import FLAT, Field
from fedmpi.comm.reduce.node_lists import ListSlot

DENSE = 8  # one touched coordinate in so many is better read from the vector than listed


class DenseSlot(ListSlot):
    """The rows of a node's ranks are vectors, zero where not marked.

    A rank with few marks lists them before the others read its row: less memory
    crosses from core to core. If any rank has many, all vectors are read instead.

    Attributes
    ----------
    mine : Field
        This rank's row, to be written before `reduce`, which does not change it.
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

    def write(self, total, cover, touched):
        """Copy a private contribution into this rank's row, unless it lies there."""
        if not np.may_share_memory(total, self.mine.total):
            self.mine.total[:] = total
            self.mine.cover[:] = cover
            self.mine.touched[:] = touched

    def reduce(self, scale, weight):
        """Add up the rows into the sum; float32 rows times `scale` if sums are int64."""
        kernels.merge.loads(self.mine.touched, FLAT, self.width, self.loads[self.node.rank])
        lo, hi = self.tell(self._list(), scale, weight)
        if (self.counts >= 0).all():
            self.add(lo, hi)
            return
        rows = self.sums, self.covers, self.marks.view(np.uint64), self.scales
        out = self.total, self.cover, self.touched
        self.found[self.node.rank] = kernels.owner.dense(*out, lo, hi, *rows)
        self.changed()
        self.sync()

    def _list(self):
        """List this rank's row if it has few marks; return their number, or else -1."""
        count = int(self.loads[self.node.rank].sum())
        if count > self.capacity:
            return -1
        units, values, weights = self.row
        mine = self.mine
        kernels.pack.positions(mine.touched, units[:count])
        kernels.merge.take(
            mine.total, mine.cover, FLAT, 0, self.size, units[:count], values, weights
        )
        return count
