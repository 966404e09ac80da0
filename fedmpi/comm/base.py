"""What the ranks of a run say to each other, and the run that has one rank only."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np

from fedmpi.arrays import AnyArray
from fedmpi.totals import Total

Bytes: TypeAlias = bytes | memoryview
Arrays: TypeAlias = dict[str, AnyArray]


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
    def sum(self, totals: Mapping[str, Total]) -> Summed:
        """Add up the totals (dict of Total, same names everywhere) over the ranks, in place.

        Returns how that was done, a Summed.
        """

    def place(self, totals: Mapping[str, Total]) -> None:
        """Let empty totals lie where `sum` adds them up without a copy, in place.

        They are valid until the next totals of the same names are placed.
        """
        return

    def sum_ahead(self, totals: Mapping[str, Total]) -> None:
        """Begin to add up totals behind what the rank does next; the next `sum` adds its own.

        Only if `overlaps` and sums are exact. Until that `sum`, the totals must not be used.
        """
        raise NotImplementedError

    def drop_ahead(self) -> None:
        """Wait for the sum that was begun ahead, and forget it."""
        return

    @abstractmethod
    def sum_by(self, algorithm: str, cache: Path | None = None) -> None:
        """Choose the algorithm of `sum`, see [collective]; `cache` is a folder for its costs."""

    @abstractmethod
    def sum_array(self, array: AnyArray) -> AnyArray:
        """Add up one int64 or float64 array over the ranks, in place, and return it."""

    @abstractmethod
    def gather_rows(self, rows: AnyArray) -> AnyArray:
        """Return the rows (array [n, ...] of any fixed-size dtype) of all ranks, in rank order."""

    @abstractmethod
    def exchange(self, boxes: Sequence[Bytes]) -> Sequence[Bytes]:
        """Send bytes to every rank (a list, by rank) and return what each rank sent here."""

    @abstractmethod
    def share(self, value: Any) -> Any:
        """Return the value that rank 0 gave; anything that JSON can hold."""

    @abstractmethod
    def share_on_node(self, arrays: Arrays | None, purpose: str) -> Arrays:
        """Return the arrays of the first rank on this node, one read-only copy for all its ranks.

        `arrays` is a dict of arrays there, and None on the other ranks; their dtypes have no
        fields. `purpose` says what they are in the ConfigError of a node without room for them.
        """

    @abstractmethod
    def copy_on_node(self, arrays: Arrays | None) -> Arrays:
        """Return a copy of the arrays of the first rank on this node, to each of its ranks.

        `arrays` is a dict of arrays there, which it keeps, and None on the other ranks; their
        dtypes have no fields.
        """

    @abstractmethod
    def node_zeros(self, shape: Sequence[int], dtype: type) -> AnyArray:
        """Return an array of zeros that all ranks on this node read and write.

        Nothing orders what they do there: ranks that write a number write the same.
        """

    @abstractmethod
    def barrier(self) -> None:
        """Wait for all ranks."""

    @abstractmethod
    def node_barrier(self) -> None:
        """Wait for all ranks on this node."""

    def close(self) -> None:
        """Give back what MPI lent; nothing that was shared on the node may be read after."""
        return

    @abstractmethod
    def abort(self, code: int) -> NoReturn:
        """End all ranks at once with an exit code; need not be called by all."""


class Serial(Comm):
    """One rank alone; needs no MPI."""

    def sum(self, totals: Mapping[str, Total]) -> Summed:
        """Nothing to add."""
        return Summed()

    def sum_by(self, algorithm: str, cache: Path | None = None) -> None:
        """Nothing to choose."""

    def sum_array(self, array: AnyArray) -> AnyArray:
        """Nothing to add."""
        return array

    def gather_rows(self, rows: AnyArray) -> AnyArray:
        """Return the rows as they are."""
        return rows

    def exchange(self, boxes: Sequence[Bytes]) -> Sequence[Bytes]:
        """Return what was sent to the one rank there is."""
        return boxes

    def share(self, value: Any) -> Any:
        """Return the value as it is."""
        return value

    def share_on_node(self, arrays: Arrays | None, purpose: str) -> Arrays:
        """Return the arrays, read-only."""
        return read_only(arrays or {})

    def copy_on_node(self, arrays: Arrays | None) -> Arrays:
        """Return the arrays as they are."""
        return arrays or {}

    def node_zeros(self, shape: Sequence[int], dtype: type) -> AnyArray:
        """Return zeros for this rank alone."""
        return np.zeros(tuple(shape), dtype)

    def barrier(self) -> None:
        """Nobody to wait for."""

    def node_barrier(self) -> None:
        """Nobody to wait for."""

    def abort(self, code: int) -> NoReturn:
        """End this process."""
        raise SystemExit(code)


def read_only(arrays: Arrays) -> Arrays:
    """Return a dict of arrays, each of which refuses to be changed now."""
    for array in arrays.values():
        array.flags.writeable = False
    return arrays
