"""The vector that ranks exchange parts of: a Field whose marks are held as bits too.

A sum by messages reads the marks several times, and bits are an eighth of the bytes. They are
made once for each sum, and kept in step with `touched`, which the sum leaves behind.
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
    """A Field in the course of a sum by messages.

    bits : uint64[w], bit j of word i is the mark of coordinate 64 i + j; all others are 0
        Empty if units are larger than coordinates: then the marks are few.

    Ranges of coordinates begin at multiples of 64, and end there or at the last coordinate.
    """

    bits: Words

    @classmethod
    def of(cls, field: Field, link: Link) -> "PackedField":
        """Return the PackedField of a Field, with which it shares its arrays.

        The bits lie in a workspace of `link`: each link has one PackedField at a time.
        """
        flags = field.touched if field.flat else field.touched[:0]
        bits = packed(flags, lambda size: link.take("bits", size))
        return cls(field.total, field.cover, field.touched, field.starts, bits)

    def words(self, lo: int, hi: int) -> Words:
        """Return the words of `bits` with the coordinates lo..hi-1, a view."""
        return self.bits[lo // 64 : -(-hi // 64)]

    def units(self, lo: int, hi: int, room: Room) -> tuple[Units, int]:
        """Return (units, coordinates): what is touched of lo..hi-1, as a list and its extent.

        `room` is a function of a size that returns uint8[size] to put the list in.
        """
        if not self.flat:
            return super().units(lo, hi, room)
        words = self.words(lo, hi)
        count = ones(words)
        units = room(4 * count).view(np.uint32)
        kernels.pack.bit_positions(words, lo, units)
        return units, count

    def support(self, lo: int, hi: int) -> Words:
        """Return the marks of the units that meet lo..hi-1 as bits, uint64 words."""
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
        """Return the number of coordinates touched."""
        return ones(self.bits) if self.flat else super().extent()

    def fingerprint(self, out: Words) -> None:
        """Write a fingerprint of the marks into uint64[4] `out`."""
        marks = self.bits.view(np.uint8) if self.flat else self.touched
        kernels.merge.fingerprint(marks, out)

    def mark(self, lo: int, hi: int) -> None:
        """Mark the coordinates lo..hi-1 of single coordinates, in place."""
        self.touched[lo:hi] = 1
        words = self.words(lo, hi)
        words[:] = ALL
        if hi % 64 and lo < hi:
            words[-1] = ALL >> np.uint64(64 - hi % 64)

    def unite(self, link: Link) -> None:
        """Mark in place the single coordinates that any rank has marked."""
        link.allreduce(self.bits, MPI.BOR)
        kernels.pack.from_bits(self.bits.view(np.uint8)[: -(-self.size // 8)], self.touched)


def packed(flags: Flags, room: Room) -> Words:
    """Return uint64[ceil(n / 64)]: the flags uint8[n] as bits, zeros after the last.

    `room` is a function of a size that returns uint8[size] to put them in.
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
