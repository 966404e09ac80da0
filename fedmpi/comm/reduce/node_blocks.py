"""Sum of vectors cut in units larger than a coordinate, inside a node: see node.py."""

import numpy as np

from fedmpi import kernels
from fedmpi.comm.reduce.field import Field
from fedmpi.comm.reduce.node import Slot


class BlockSlot(Slot):
    """The rows of a node's ranks are vectors, read only where a unit is marked.

    Attributes
    ----------
    mine : Field
        This rank's row. What is written here need not be copied.
    """

    def __init__(self, node, size, starts, kind, dtype, cover):
        """Open a slot of float32 or int64 rows (`kind`) for int64 or float32 sums (`dtype`).

        cover : bool, True for a weight per unit
        """

        def rows(padded, length):
            return {
                "sums": ((node.size, padded), kind),
                "covers": ((node.size, length if cover else 0), dtype),
                "marks": ((node.size, length), np.uint8),
            }

        super().__init__(node, size, starts, dtype, cover, rows)
        self.seen = np.zeros(self.touched.size, np.uint8)
        for array in (self.sums, self.covers, self.marks):
            array[node.rank] = 0
        row = self.sums[node.rank, :size], self.covers[node.rank], self.marks[node.rank]
        self.mine = Field(*row, starts)

    def write(self, given):
        """Copy a private contribution into this rank's row, unless it lies there."""
        if not np.may_share_memory(given.total, self.mine.total):
            kernels.merge.copy(given.total, given.touched, self.starts, self.mine.total)
            self.mine.cover[:] = given.cover
            self.mine.touched[:] = given.touched

    def reduce(self, given, scale, weight):
        """Add up what the ranks give, `given` (Field) being this rank's, into the sum.

        float32 is multiplied by `scale` and rounded if sums are int64.
        """
        rank, mine = self.node.rank, self.mine
        self.write(given)
        kernels.merge.loads(mine.touched, self.starts, self.width, self.loads[rank])
        self.seen[:] = self.touched  # others will write over it
        lo, hi = self.tell(0, scale, weight)
        out = self.total, self.cover, self.touched, self.starts, lo, min(hi, self.size)
        rows = self.sums, self.covers, self.marks, self.scales, self.seen
        self.found[rank] = kernels.owner.blocks(*out, *rows)
        self.sync()

    def changed(self):
        """Nothing to note: the marks say what to clear."""
