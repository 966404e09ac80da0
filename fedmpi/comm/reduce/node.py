"""Sums inside a node, without messages: each rank adds up one range in shared memory.

Each rank writes its contribution into its row of a shared window (`mine`), preferably while it
trains. After a barrier, the coordinates are divided into one range per rank so that all ranks have
about the same work. Each rank adds up the rows of its range in rank order, into the single result
of the node (kernels/owner.py). After a second barrier, every rank may read the result until it
asks for the next sum.
"""

from typing import Any

import numpy as np
from mpi4py import MPI

from fedmpi import kernels
from fedmpi.arrays import Flags, Integers
from fedmpi.comm.reduce.field import Field
from fedmpi.comm.reduce.forecast import Weight, bin_width
from fedmpi.comm.window import Table, close_window, open_window

BINS = 256
SAMPLE = 8  # ranges need not be equal exactly, so only one mark in this many is counted
INSTEAD = 'enlarge it, or name an algorithm that needs none, for example "halving"'


class Slot:
    """Shared memory for the contributions of a node's ranks and for their sum.

    Constructing it is collective over the ranks of `node`.

    Attributes
    ----------
    kind : tuple
        Size, dtype, and whether units have weights.
    mine : Field
        This rank's contribution, zero at first and zero where not marked. A contribution written
        here needs no copy. Clear it before filling it again.
    total, cover, touched : T[N], T[V or 0], uint8[V]
        The sum, shared by the node's ranks and zero at first.
    weight : int64[1] or float64[1]
        The sum of the weights for all units, shared.
    note : float64[3]
        (algorithm, density, regret) of a sum, written by the first rank for the others, shared.
    """

    def __init__(
        self, node: MPI.Comm, size: int, starts: Integers, dtype: np.dtype[Any], cover: bool
    ) -> None:
        """Open the window of all ranks of `node`, for sums of `size` coordinates.

        starts : int64[U+1], or FLAT
        dtype : int64 or float32
        cover : bool, True for a weight per unit
        """
        self.node, self.size, self.starts = node, size, starts
        self.kind = size, dtype, bool(cover)
        self.units = starts.size - 1 if starts.size else size
        self.width = bin_width(size, BINS)
        self._even = np.ones(node.size, np.int64)
        padded = -(-size // 64) * 64
        length = self.units if starts.size else padded
        weight = np.int64 if dtype == np.int64 else np.float64
        covers = length if cover else 0
        shared: Table = {
            "total": ([padded], dtype),
            "cover": ([covers], dtype),
            "touched": ([length], np.uint8),
            "sums": ((node.size, padded), dtype),
            "covers": ((node.size, covers), dtype),
            "marks": ((node.size, length), np.uint8),
            "loads": ((node.size, BINS), np.int64),
            "found": ([node.size], np.int64),
            "weights": ([node.size], weight),
            "weight": ([1], weight),
            "note": ([3], np.float64),
        }
        self.window, views = open_window(node, shared, "collective.algorithm", INSTEAD)
        self.total, self.cover, self.touched, self._sums, self._covers, self._marks = (
            views[name] for name in ("total", "cover", "touched", "sums", "covers", "marks")
        )
        self._loads, self.found, self._weights, self.weight, self.note = (
            views[name] for name in ("loads", "found", "weights", "weight", "note")
        )
        if node.rank == 0:  # MPI does not promise zeros
            for array in (self.total, self.cover, self.touched):
                array[:] = 0
        row = [rows[node.rank] for rows in (self._sums, self._covers, self._marks)]
        for array in row:
            array[:] = 0
        self.mine = Field(row[0][:size], row[1][: self.units], row[2][: self.units], starts)
        self.reduce(self.mine, weight(0))  # an empty sum, so that kernels are compiled or loaded

    def view(self) -> Field:
        """Return the sum as a Field."""
        cover = self.cover[: self.units]
        return Field(self.total[: self.size], cover, self.touched[: self.units], self.starts)

    def reduce(self, given: Field, weight: Weight) -> None:
        """Add up the contributions of the ranks into the sum; collective over the node.

        `given` is this rank's contribution, and `weight` its weight for all units.
        """
        rank, mine = self.node.rank, self.mine
        if not np.may_share_memory(given.total, mine.total):
            mine.clear()
            kernels.merge.copy(given.total, given.touched, self.starts, mine.total)
            mine.cover[:], mine.touched[:] = given.cover, given.touched
        kernels.ranges.loads(mine.touched, self.starts, self.width, SAMPLE, self._loads[rank])
        self._weights[rank] = weight
        seen = self.touched.copy() if self.starts.size else None  # other ranks overwrite `touched`
        self.sync()
        if rank == 0:
            self.weight[0] = sum(self._weights[1:], self._weights[0])
        self.found[rank] = self._add(*self._range(), seen)
        self.sync()

    def _range(self) -> tuple[int, int]:
        """Return (lo, hi), the range lo..hi-1 of coordinates that this rank adds up."""
        bounds = np.zeros(self.node.size + 1, np.int64)
        size = bounds[-1] = self.total.size
        kernels.ranges.cut(self._loads, self.width, size, self._even, bounds)
        lo, hi = bounds[self.node.rank : self.node.rank + 2].tolist()
        return lo, hi

    def _add(self, lo: int, hi: int, seen: Flags | None) -> int:
        """Add up lo..hi-1 of the rows, in place; return the number of coordinates touched."""
        out, rows = (self.total, self.cover, self.touched), (self._sums, self._covers)
        if seen is None:
            return int(kernels.owner.dense(*out, lo, hi, *rows, self._marks.view(np.uint64)))
        hi = min(hi, self.size)
        return int(kernels.owner.blocks(*out, self.starts, lo, hi, *rows, self._marks, seen))

    def sync(self) -> None:
        """Wait for the node's ranks, and make their earlier writes visible to all of them."""
        if self.window is not None:
            self.window.Sync()
            self.node.Barrier()
            self.window.Sync()

    def close(self) -> None:
        """Free the window; collective over the ranks of the node."""
        close_window(self.window)
