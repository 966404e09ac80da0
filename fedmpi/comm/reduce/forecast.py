"""Forecast: one small exchange before a sum, which tells every rank what the others will add."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Integers
from fedmpi.comm.reduce.link import Link
from fedmpi.comm.reduce.packed import PackedField

Weight: TypeAlias = np.int64 | np.float64
"""Total weight of the updates that a rank added; an integer if sums are exact."""

BINS = 64
UNITS, COORDINATES, WEIGHT, MARKS = 0, 1, 2, slice(3, 7)


def bin_width(size: int, bins: int = BINS) -> int:
    """Return the width of each bin, a multiple of 64 coordinates."""
    return max(-(-size // (64 * bins)), 1) * 64


@dataclass(frozen=True, eq=False)
class Forecast:
    """Description of what all ranks are about to add; the same on every rank.

    rows : int64[P, 7 + BINS], one row sent by each rank
    size, marks : number of coordinates, and of marks that a scan of all units reads
    per_value, per_weight : bytes of a value and of a weight in a message
    flat : True if every coordinate is a unit
    exact : True if the values are integers, which may be added in any order
    known : number of coordinates in the union, or None if it is only estimated
    """

    rows: Integers
    size: int
    marks: int
    per_value: int
    per_weight: int
    flat: bool
    exact: bool
    known: int | None = None

    @property
    def ranks(self) -> int:
        """Number of ranks, P."""
        return len(self.rows)

    @cached_property
    def same(self) -> bool:
        """True if all ranks touch the same units."""
        marks = self.rows[:, MARKS].tobytes()
        return marks == marks[: len(marks) // self.ranks] * self.ranks

    @cached_property
    def every(self) -> int:
        """Sum over the ranks of the number of coordinates that each touches."""
        return sum(self._coordinates)

    @cached_property
    def most(self) -> int:
        """Largest number of coordinates that one rank touches."""
        return max(self._coordinates)

    @cached_property
    def units_each(self) -> float:
        """Touched units per touched coordinate, at most 1."""
        units: int = sum(self.rows[:, UNITS].tolist())
        return units / max(self.every, 1)

    @cached_property
    def _coordinates(self) -> list[int]:
        coordinates: list[int] = self.rows[:, COORDINATES].tolist()
        return coordinates  # a list, since numpy is slower on so few numbers

    def knowing(self, union: int) -> "Forecast":
        """Return a copy of this Forecast in which the size of the union is known."""
        other = object.__new__(Forecast)  # not by its constructor: cached properties are kept
        vars(other).update(vars(self), known=union)
        return other

    def bounds(self, shares: Sequence[int], lo: int = 0, hi: int | None = None) -> Integers:
        """Return the bounds that cut lo..hi-1 into ranges with work proportional to `shares`."""
        bounds = np.full(len(shares) + 1, lo)
        bounds[-1] = self.size if hi is None else hi
        loads = self.rows[:, MARKS.stop :]
        kernels.ranges.cut(loads, bin_width(self.size), self.size, np.array(shares), bounds)
        return bounds

    def union(self, ranks: int) -> float:
        """Return the expected number of coordinates touched by any of the first `ranks` ranks.

        Supports are taken to be independent inside a bin, unless all ranks have the same one.
        """
        if self.known is not None and ranks == self.ranks:
            return self.known
        if self.same or ranks == 1:
            return self.most
        return self._unions[ranks - 1]

    @cached_property
    def _unions(self) -> list[float]:
        width = bin_width(self.size)
        whole, rest = divmod(self.size, width)
        filled = np.ones(BINS)
        filled[:whole] = width
        filled[whole : whole + 1] = max(rest, 1)
        missed = np.multiply.accumulate(1 - self.rows[:, MARKS.stop :] / filled)
        unions: list[float] = ((1 - missed) @ filled).tolist()
        return unions


def exchange(link: Link, field: PackedField, weight: Weight) -> tuple[Forecast, Weight]:
    """Tell all ranks what this rank is about to add; return (Forecast, sum of the weights).

    `weight` is the total weight of the updates that this rank added. Weights are summed in rank
    order.
    """
    row = np.zeros(MARKS.stop + BINS, np.int64)
    width = bin_width(field.size)
    field.loads(width, row[MARKS.stop :])
    row[UNITS] = row[COORDINATES] = row[MARKS.stop :].sum()
    if not field.flat:
        row[UNITS] = kernels.pack.count(field.touched)[0]
    row[WEIGHT] = np.asarray(weight).view(np.int64)
    field.fingerprint(row[MARKS].view(np.uint64))
    rows = link.gather_row(row)
    weights = rows[:, WEIGHT].copy().view(np.asarray(weight).dtype)
    plan = Forecast(
        rows,
        field.size,
        field.touched.size,
        per_value=field.total.itemsize,
        per_weight=field.cover.itemsize if field.cover.size else 0,
        flat=field.flat,
        exact=field.exact,
    )
    return plan, sum(weights[1:], weights[0])
