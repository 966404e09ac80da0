"""The vector that a reduction works on."""

from dataclasses import dataclass

import numpy as np

from fedmpi import kernels

FLAT = np.zeros(0, np.int64)  # the `starts` of a vector whose units are its coordinates


@dataclass(frozen=True, eq=False)
class Field:
    """One rank's part of a sum, or the whole sum once it is reduced.

    total : int64[n] or float32[n], zero where not touched
    cover : int64[U] or float32[U], or empty if there is one weight for all
    touched : uint8[U], 1 where a unit holds anything
    starts : int64[U+1], or FLAT
    """

    total: np.ndarray
    cover: np.ndarray
    touched: np.ndarray
    starts: np.ndarray

    @property
    def size(self):
        """Number of coordinates, n."""
        return self.total.size

    @property
    def flat(self):
        """True if every coordinate is a unit."""
        return self.starts.size == 0

    @property
    def exact(self):
        """True if the values are whole numbers, whose sum has no order."""
        return self.total.dtype == np.int64

    def span(self, lo, hi):
        """Return (first, last): the units first..last-1 that meet the coordinates lo..hi-1."""
        return kernels.merge.span(self.starts, lo, hi)

    def units(self, lo, hi, room):
        """Return (units, coordinates): what is touched of lo..hi-1, as a list and its extent.

        `room` is a function of a size that returns uint8[size] to put the list in.
        """
        first, last = self.span(lo, hi)
        marks = self.touched[first:last]
        units = room(4 * int(kernels.pack.count(marks)[0])).view(np.uint32)
        kernels.pack.positions(marks, units)
        units += np.uint32(first)
        return units, int(kernels.merge.extent(self.starts, lo, hi, units))

    def extent(self):
        """Return the number of coordinates touched."""
        if self.flat:
            return int(kernels.pack.count(self.touched)[0])
        return int(np.diff(self.starts)[self.touched != 0].sum())

    def clear(self):
        """Set the whole vector to zero, in place."""
        kernels.merge.clear(self.total, self.cover, self.touched, self.starts)
