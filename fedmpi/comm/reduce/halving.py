"""Sparse recursive halving, then doubling, for any number of ranks.

A group of p ranks that is responsible for a range of coordinates splits both in two. The
lower floor(p/2) ranks take a proportionate lower part of the range, and the other ranks take
the upper part. Each rank sends its values in the part that it gives up to its partner in the
other half, and adds the values that it receives. If p is odd, the last rank has no partner of
its own: it sends to the last rank of the lower half, which receives twice. Once every rank is
alone with a finished range, the same steps in reverse order spread the finished ranges.

Cost: 2 ceil(log2 P) messages (three a level for a rank with two partners). In bytes, each level
i takes the expected union of 2**i ranks over a 2**(i+1)-th of the coordinates, and the way back
(P-1)/P of the union of all ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import Protocol

from fedmpi.arrays import Integers
from fedmpi.comm.reduce.cost import Cost
from fedmpi.comm.reduce.forecast import Forecast
from fedmpi.comm.reduce.link import NOTHING, Link
from fedmpi.comm.reduce.message import add, clear_negative_zeros, encode
from fedmpi.comm.reduce.packed import PackedField


class Ranges(Protocol):
    """The part of a Forecast that is needed to cut a vector into ranges."""

    @property
    def size(self) -> int:
        """Number of coordinates."""

    def bounds(self, shares: Sequence[int], lo: int = 0, hi: int | None = None) -> Integers:
        """Return the bounds that cut lo..hi-1 into ranges in proportion to `shares`."""


@dataclass(frozen=True)
class Level:
    """One split as seen by one rank: its partner, and the ranges that it keeps and gives up."""

    partner: int
    odd: int | None  # the rank without a partner, if this rank serves it
    alone: bool  # True if this rank is the one without a partner
    keep: tuple[int, int]
    give: tuple[int, int]


def levels(rank: int, size: int, plan: Ranges) -> list[Level]:
    """Return the Levels of `rank`, from the whole group down to the rank alone."""
    found: list[Level] = []
    first, last, lo, hi = 0, size, 0, plan.size
    while last - first > 1:
        half = (last - first) // 2
        middle = first + half
        cut = int(plan.bounds([half, last - middle], lo, hi)[1])
        odd = last - 1 if last - middle > half else None
        if rank < middle:
            served = odd if rank == middle - 1 else None
            found.append(Level(rank + half, served, False, (lo, cut), (cut, hi)))
            last, hi = middle, cut
        else:
            alone = rank == odd
            partner = middle - 1 if alone else rank - half
            found.append(Level(partner, None, alone, (cut, hi), (lo, cut)))
            first, lo = middle, cut
    return found


def reduce(link: Link, field: PackedField, plan: Forecast) -> None:
    """Add up `field` over the ranks, in place."""
    cuts, first = levels(link.rank, link.size, plan), link.step
    for depth, level in enumerate(cuts):
        _at(link, first, depth, level.alone)
        mine = encode(link, field, *level.give)
        answer = link.swap(mine, level.partner, None if level.alone else level.partner)
        if not level.alone:
            add(link, field, answer)
        if level.odd is not None:
            _at(link, first, depth, True)
            add(link, field, link.swap(NOTHING, None, level.odd))
    clear_negative_zeros(field, *cuts[-1].keep)
    most = ceil(log2(link.size))
    for depth, level in reversed([*enumerate(cuts)]):
        _at(link, first, 2 * most - 1 - depth, level.alone)
        mine = NOTHING if level.alone else encode(link, field, *level.keep)
        answer = link.swap(mine, None if level.alone else level.partner, level.partner)
        if level.odd is not None:
            _at(link, first, 2 * most - 1 - depth, True)
            link.swap(mine, level.odd, None)
        add(link, field, answer, fresh=True)  # a sum over all ranks, so it holds our units too
    _at(link, first, 2 * most, False)


def _at(link: Link, first: int, round: int, odd: bool) -> None:
    """Set the step of `link`: two steps a round, the second for the rank without a partner.

    Ranks pass through different numbers of levels, but both ends of a message must note the same
    step.
    """
    link.step = first + 2 * round + odd


def seconds(cost: Cost, plan: Forecast) -> float:
    """Return the modelled time."""
    total = plan.marks * cost.scan
    every = plan.union(plan.ranks)
    for level in range(ceil(log2(plan.ranks))):
        part = 2 ** (level + 1)
        for union in (plan.union(min(2**level, plan.ranks)), every):
            total += cost.alpha + cost.bytes(plan, union / part, plan.size / part) * cost.beta
            total += (cost.emit + cost.add) * union / part
    return total
