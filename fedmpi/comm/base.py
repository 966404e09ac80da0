"""The communication between the ranks of a run, and its trivial form for a single rank."""

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
class Summation:
    """The way in which the ranks added up their totals.

    `algorithm` is "none" for one rank, "node" if shared memory was enough, and otherwise the name
    of the algorithm used between nodes. `bytes` is the number of bytes that this rank sent.
    `regret` is the modelled time in seconds that the best algorithm would have saved.
    """

    algorithm: str = "none"
    bytes: int = 0
    regret: float = 0.0


class Comm(ABC):
    """The ranks of one run. Every method except `abort` is collective: all ranks must call it.

    Attributes
    ----------
    rank, size : int
    node_rank, node_size : int
        Rank within this node, and number of ranks on this node; they share memory.
    """

    rank = 0
    size = 1
    node_rank = 0
    node_size = 1
    library = "none"
    overlaps = False  # True if sum_ahead can run while the rank does something else

    @abstractmethod
    def sum(self, totals: Mapping[str, Total]) -> Summation:
        """Add up the totals (dict of Total, same names on all ranks) over the ranks, in place.

        Returns a Summation, which describes how this was done.
        """

    def allocate(self, totals: Mapping[str, Total]) -> None:
        """Move empty totals, in place, into memory from which `sum` adds them without a copy.

        The totals are valid until the next totals of the same names are allocated.
        """
        return

    def sum_ahead(self, totals: Mapping[str, Total]) -> None:
        """Start to add up totals in the background; the next `sum` includes the result.

        Allowed only if `overlaps` is true and sums are exact. The totals must not be used until
        that `sum` has returned.
        """
        raise NotImplementedError

    def drop_ahead(self) -> None:
        """Wait for a sum started by `sum_ahead`, and discard its result."""
        return

    @abstractmethod
    def sum_by(self, algorithm: str, cache: Path | None = None) -> None:
        """Choose the algorithm of `sum`, see [collective].

        `cache` is a folder in which the measured costs of messages are kept.
        """

    @abstractmethod
    def sum_array(self, array: AnyArray) -> AnyArray:
        """Add up one int64 or float64 array over the ranks, in place, and return it."""

    def count_nodes(self) -> int:
        """Return the number of nodes that the ranks are on."""
        return int(self.sum_array(np.array([self.node_rank == 0], np.int64))[0])

    @abstractmethod
    def gather_rows(self, rows: AnyArray) -> AnyArray:
        """Return the rows (array [n, ...] of any fixed-size dtype) of all ranks, in rank order."""

    @abstractmethod
    def exchange(self, boxes: Sequence[Bytes]) -> Sequence[Bytes]:
        """Send boxes[r] to each rank r; return the bytes from each rank, in rank order."""

    @abstractmethod
    def share(self, value: Any) -> Any:
        """Return the value that rank 0 passed, which may be anything that JSON can hold."""

    @abstractmethod
    def share_on_node(self, arrays: Arrays | None, purpose: str) -> Arrays:
        """Return the arrays of this node's first rank, one read-only copy for all its ranks.

        `arrays` is a dict of arrays on the first rank, and None on the others; the dtypes have no
        fields. `purpose` names the arrays in the ConfigError of a node without room for them.
        """

    @abstractmethod
    def copy_on_node(self, arrays: Arrays | None) -> Arrays:
        """Return the arrays of this node's first rank, with a copy of its own for each other rank.

        `arrays` is a dict of arrays on the first rank, which gets the same arrays back, and None
        on the others; the dtypes have no fields.
        """

    @abstractmethod
    def node_zeros(self, shape: Sequence[int], dtype: type) -> AnyArray:
        """Return an array of zeros that all ranks on this node can read and write.

        Accesses are not synchronized, so ranks that write to the same element must write the same
        number.
        """

    @abstractmethod
    def barrier(self) -> None:
        """Wait for all ranks."""

    @abstractmethod
    def node_barrier(self) -> None:
        """Wait for all ranks on this node."""

    def close(self) -> None:
        """Free what MPI holds; arrays shared on the node must not be read afterwards."""
        return

    @abstractmethod
    def abort(self, code: int) -> NoReturn:
        """End all ranks at once with an exit code; one rank alone may call this."""


class Serial(Comm):
    """A run with one rank, which needs no MPI."""

    def sum(self, totals: Mapping[str, Total]) -> Summation:
        """Return an empty Summation: one rank has nothing to add."""
        return Summation()

    def sum_by(self, algorithm: str, cache: Path | None = None) -> None:
        """Do nothing: one rank needs no algorithm."""

    def sum_array(self, array: AnyArray) -> AnyArray:
        """Return the array as it is."""
        return array

    def gather_rows(self, rows: AnyArray) -> AnyArray:
        """Return the rows as they are."""
        return rows

    def exchange(self, boxes: Sequence[Bytes]) -> Sequence[Bytes]:
        """Return the boxes as they are."""
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
        """Do nothing: there is no other rank."""

    def node_barrier(self) -> None:
        """Do nothing: there is no other rank."""

    def abort(self, code: int) -> NoReturn:
        """End this process."""
        raise SystemExit(code)


def read_only(arrays: Arrays) -> Arrays:
    """Make each array of a dict read-only, in place, and return the dict."""
    for array in arrays.values():
        array.flags.writeable = False
    return arrays
