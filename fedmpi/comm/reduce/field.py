"""Field: the vector that a reduction adds up."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Flags, Integers, Octets

FLAT: Integers = np.zeros(0, np.int64)  # the `starts` of a vector whose units are its coordinates
Room: TypeAlias = Callable[[int], Octets]
"""A function of a size that returns an output buffer uint8[size]."""
Units: TypeAlias = NDArray[np.uint32]
"""uint32[m]: indices of units, ascending."""


@dataclass(frozen=True, eq=False)
class Field:
    """One rank's part of a sum, or the whole sum after the reduction.

    total : int64[n] or float32[n], zero where not touched
    cover : int64[U] or float32[U], or empty if all units have the same weight
    touched : uint8[U], 1 for each touched unit
    starts : int64[U+1], or FLAT
    """

    total: AnyArray
    cover: AnyArray
    touched: Flags
    starts: Integers

    @property
    def size(self) -> int:
        """Number of coordinates, n."""
        return self.total.size

    @property
    def flat(self) -> bool:
        """True if every coordinate is a unit."""
        return self.starts.size == 0

    @property
    def exact(self) -> bool:
        """True if the values are integers, whose sum does not depend on the order."""
        return bool(self.total.dtype == np.int64)

    def span(self, lo: int, hi: int) -> tuple[int, int]:
        """Return (first, last) such that units first..last-1 overlap coordinates lo..hi-1."""
        first, last = kernels.merge.span(self.starts, lo, hi)
        return first, last

    def units(self, lo: int, hi: int, room: Room) -> tuple[Units, int]:
        """Return (touched units in lo..hi-1, number of touched coordinates in lo..hi-1).

        `room` is a function of a size that returns uint8[size] as memory for the list of units.
        """
        first, last = self.span(lo, hi)
        marks = self.touched[first:last]
        units = room(4 * int(kernels.pack.count(marks)[0])).view(np.uint32)
        kernels.pack.positions(marks, units)
        units += np.uint32(first)
        return units, int(kernels.merge.extent(self.starts, lo, hi, units))

    def extent(self) -> int:
        """Return the number of touched coordinates."""
        if self.flat:
            return int(kernels.pack.count(self.touched)[0])
        return int(np.diff(self.starts)[self.touched != 0].sum())

    def clear(self) -> None:
        """Set the whole vector to zero, in place."""
        kernels.merge.clear(self.total, self.cover, self.touched, self.starts)
