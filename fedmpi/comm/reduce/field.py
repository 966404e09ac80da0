"""The vector that a reduction works on."""

from dataclasses import dataclass

import numpy as np

from fedmpi import kernels

FLAT = np.zeros(0, np.int64)  # the `starts` of a vector whose units are its coordinates


def marks(units):
    """Return the length of the marks of so many units: the next multiple of 8."""
    return -(-units // 8) * 8


@dataclass(frozen=True, eq=False)
class Field:
    """One rank's part of a sum, or the whole sum once it is reduced.

    total : int64[n] or float32[n], zero where not touched
    cover : int64[U] or float32[U], or empty if there is one weight for all
    touched : uint8[V], V = marks(U)
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

    def count(self, lo=0, hi=None):
        """Return (units, coordinates) touched in lo..hi-1."""
        hi = self.size if hi is None else hi
        return kernels.merge.count(self.touched, self.starts, lo, hi)

    def span(self, lo, hi):
        """Return (first, last): the units first..last-1 that meet lo..hi-1."""
        return kernels.merge.span(self.starts, lo, hi)

    def clear(self, lo=0, hi=None):
        """Set what is touched in lo..hi-1 to zero."""
        hi = self.size if hi is None else hi
        kernels.merge.clear(self.total, self.cover, self.touched, self.starts, lo, hi)
