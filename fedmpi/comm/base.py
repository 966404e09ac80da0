"""What the ranks of a run say to each other, and the run that has one rank only."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Summed:
    """How the ranks added up their sums.

    `algorithm` is "none" for one rank, "node" where shared memory was enough, or that of the
    messages between nodes; `bytes` are those that this rank sent; `regret` the modelled seconds
    that another algorithm would have saved.
    """

    algorithm: str = "none"
    bytes: int = 0
    regret: float = 0.0


class Comm(ABC):
    """The ranks of one run. Every method but `abort` is collective: all ranks call it.

    Attributes
    ----------
    rank, size : int
    node_rank, node_size : int
        Rank and number of ranks on this node, which share memory.
    """

    rank = 0
    size = 1
    node_rank = 0
    node_size = 1
    library = "none"
    overlaps = False  # True if sum_ahead can run while the rank does something else

    @abstractmethod
    def sum(self, totals):
        """Add up the totals (dict of Total, same names everywhere) over the ranks, in place.

        Returns how that was done, a Summed.
        """

    def place(self, totals):
        """Let empty totals lie where `sum` adds them up without a copy, in place.

        They are valid until the next totals of the same names are placed.
        """
        return

    def sum_ahead(self, totals):
        """Begin to add up totals behind what the rank does next; the next `sum` adds its own.

        Only if `overlaps` and sums are exact. Until then neither they may be used nor a sum made.
        """
        raise NotImplementedError

    def drop_ahead(self):
        """Wait for the sum that was begun ahead, and forget it."""
        return

    @abstractmethod
    def sum_by(self, algorithm, cache=None):
        """Choose the algorithm of `sum`, see [collective]; `cache` is a folder for its costs."""

    @abstractmethod
    def sum_array(self, array):
        """Add up one int64 or float64 array over the ranks, in place, and return it."""

    @abstractmethod
    def gather_rows(self, rows):
        """Return the rows (array [n, ...] of any fixed-size dtype) of all ranks, in rank order."""

    @abstractmethod
    def exchange(self, boxes):
        """Send bytes to every rank (a list, by rank) and return what each rank sent here."""

    @abstractmethod
    def share(self, value):
        """Return the value that rank 0 gave; anything that JSON can hold."""

    @abstractmethod
    def share_on_node(self, arrays):
        """Return the arrays of the first rank on this node, one read-only copy for all its ranks.

        `arrays` is a dict of arrays there, and None on the other ranks.
        """

    @abstractmethod
    def node_signs(self, columns):
        """Return int64[node_size, columns] of zeros that all ranks on this node read and write.

        Nothing orders what they do there: each number is to be written by one rank only.
        """

    @abstractmethod
    def barrier(self):
        """Wait for all ranks."""

    @abstractmethod
    def node_barrier(self):
        """Wait for all ranks on this node."""

    def close(self):
        """Give back what MPI lent; nothing that was shared on the node may be read after."""
        return

    @abstractmethod
    def abort(self, code):
        """End all ranks at once with an exit code; need not be called by all."""


class Serial(Comm):
    """One rank alone; needs no MPI."""

    def sum(self, totals):
        """Nothing to add."""
        return Summed()

    def sum_by(self, algorithm, cache=None):
        """Nothing to choose."""

    def sum_array(self, array):
        """Nothing to add."""
        return array

    def gather_rows(self, rows):
        """Return the rows as they are."""
        return rows

    def exchange(self, boxes):
        """Return what was sent to the one rank there is."""
        return boxes

    def share(self, value):
        """Return the value as it is."""
        return value

    def share_on_node(self, arrays):
        """Return the arrays, read-only."""
        for array in arrays.values():
            array.flags.writeable = False
        return arrays

    def node_signs(self, columns):
        """Return zeros of this rank's own."""
        return np.zeros((1, columns), np.int64)

    def barrier(self):
        """Nobody to wait for."""

    def node_barrier(self):
        """Nobody to wait for."""

    def abort(self, code):
        """End this process."""
        raise SystemExit(code)
