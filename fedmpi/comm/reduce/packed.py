"""PackedField: a Field whose marks are also stored as bits, for sums by messages.

A sum by messages reads the marks several times, and bits take an eighth of the bytes. The bits
are made once for each sum and kept consistent with `touched`, which is part of the result.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from fedmpi import kernels
from fedmpi.arrays import Flags, Integers
from fedmpi.comm.reduce.field import Field, Room, Units
from fedmpi.comm.reduce.link import Link

ALL = np.uint64(2**64 - 1)
Words: TypeAlias = NDArray[np.uint64]
"""uint64[w]: marks as bits, 64 to a word."""


@dataclass(frozen=True, eq=False)
class PackedField(Field):
    """A Field during a sum by messages.

    bits : uint64[w], bit j of word i is the mark of coordinate 64 i + j; bits past the end are 0
        Empty if units are larger than coordinates, since there are then few marks.

    A range of coordinates begins at a multiple of 64, and ends at one or at the last coordinate.
    """

    bits: Words

    @classmethod
    def of(cls, field: Field, link: Link) -> "PackedField":
        """Return a PackedField that shares the arrays of `field`.

        The bits are in a workspace of `link`, so a link has only one PackedField at a time.
        """
        flags = field.touched if field.flat else field.touched[:0]
        bits = packed(flags, lambda size: link.take("bits", size))
        return cls(field.total, field.cover, field.touched, field.starts, bits)

    def words(self, lo: int, hi: int) -> Words:
        """Return the words of `bits` for the coordinates lo..hi-1, as a view."""
        return self.bits[lo // 64 : -(-hi // 64)]

    def units(self, lo: int, hi: int, room: Room) -> tuple[Units, int]:
        """Return (touched units in lo..hi-1, number of touched coordinates in lo..hi-1).

        `room` is a function of a size that returns uint8[size] as memory for the list of units.
        """
        if not self.flat:
            return super().units(lo, hi, room)
        words = self.words(lo, hi)
        count = ones(words)
        units = room(4 * count).view(np.uint32)
        kernels.pack.bit_positions(words, lo, units)
        return units, count

    def support(self, lo: int, hi: int) -> Words:
        """Return the marks of the units that overlap lo..hi-1 as bits, uint64 words."""
        if self.flat:
            return self.words(lo, hi)
        first, last = self.span(lo, hi)
        return packed(self.touched[first:last], lambda size: np.empty(size, np.uint8))

    def loads(self, width: int, out: Integers) -> None:
        """Count the touched coordinates in bins of `width`, a multiple of 64, into int64[bins]."""
        if self.flat:
            kernels.pack.bit_counts(self.bits, width // 64, out)
        else:
            kernels.ranges.loads(self.touched, self.starts, width, 1, out)

    def extent(self) -> int:
        """Return the number of touched coordinates."""
        return ones(self.bits) if self.flat else super().extent()

    def fingerprint(self, out: Words) -> None:
        """Write a fingerprint of the marks into uint64[4] `out`."""
        marks = self.bits.view(np.uint8) if self.flat else self.touched
        kernels.merge.fingerprint(marks, out)

    def mark(self, lo: int, hi: int) -> None:
        """Mark the coordinates lo..hi-1, in place. The field must be flat."""
        self.touched[lo:hi] = 1
        words = self.words(lo, hi)
        words[:] = ALL
        if hi % 64 and lo < hi:
            words[-1] = ALL >> np.uint64(64 - hi % 64)

    def unite(self, link: Link) -> None:
        """Set the marks, in place, to the union over all ranks. The field must be flat."""
        link.allreduce(self.bits, MPI.BOR)
        kernels.pack.from_bits(self.bits.view(np.uint8)[: -(-self.size // 8)], self.touched)


def packed(flags: Flags, room: Room) -> Words:
    """Return the flags uint8[n] as bits, uint64[ceil(n / 64)], padded with zeros.

    `room` is a function of a size that returns uint8[size] as memory for the bits.
    """
    words = room(-(-flags.size // 64) * 8).view(np.uint64)
    words[-1:] = 0
    kernels.pack.to_bits(flags, words.view(np.uint8)[: -(-flags.size // 8)])
    return words


def ones(words: Words) -> int:
    """Return the number of bits that are set in uint64 words."""
    count = np.empty(1, np.int64)
    kernels.pack.bit_counts(words, words.size, count)
    return int(count[0])
