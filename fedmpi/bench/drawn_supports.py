"""The coordinates that each of many ranks touches: drawn at random, or those of real clients."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fedmpi.arrays import Integers, Octets, Reals
from fedmpi.comm.reduce.message import HEAD
from fedmpi.rng import rng_for

if TYPE_CHECKING:
    from fedmpi.bench.contributions import Sum

SAMPLE = 1 << 17  # coordinates sampled from a model: a range of 32 for each of 4,096 ranks


@dataclass(frozen=True, eq=False)
class Supports:
    """The sampled coordinates that each rank touches.

    bits : uint8[P, size / 8]
    stands_for : coordinates of the model for each sampled one
    per_value : bytes of a value
    units : number of units larger than a coordinate, 0 if every coordinate is one
    """

    bits: Octets
    stands_for: float = 1.0
    per_value: int = 8
    units: int = 0

    @classmethod
    def draw(cls, ranks: int, n: int, density: float, size: int = SAMPLE) -> "Supports":
        """Return independent supports of one density for a model of `n` coordinates."""
        rows = (rng_for(1, "scale", 0, rank).random(size) < density for rank in range(ranks))
        return cls(np.array([np.packbits(row) for row in rows]), n / size)

    @classmethod
    def of(cls, one: "Sum", ranks: int, size: int = SAMPLE) -> "Supports":
        """Return the supports of a Sum (contributions.py), a client on each rank.

        If there are enough clients, each stands for one rank; otherwise clients are drawn at
        random. Coordinates are sampled at even distances.
        """
        starts, clients = one.starts, len(one.touched)
        n = int(starts[-1])
        size = min(size, -(-n // 8) * 8)
        at = np.searchsorted(starts, np.arange(size) * n // size, side="right") - 1
        pool = np.array([np.packbits(marks[at] != 0) for marks in one.touched])
        who = np.arange(ranks)
        if ranks > clients:
            who = rng_for(1, "scale clients").integers(clients, size=ranks)
        flat = starts.size == n + 1
        return cls(pool[who], n / size, 9 if flat else 8, 0 if flat else starts.size - 1)

    @property
    def ranks(self) -> int:
        """Number of ranks, P."""
        return len(self.bits)

    @property
    def size(self) -> int:
        """Number of sampled coordinates."""
        return int(8 * self.bits.shape[1])

    @cached_property
    def held(self) -> Integers:
        """int64[P]: sampled coordinates that each rank touches."""
        return np.array([np.bitwise_count(row).sum(dtype=np.int64) for row in self.bits])

    @cached_property
    def same(self) -> bool:
        """True if all ranks touch the same coordinates."""
        return bool((self.bits == self.bits[0]).all())

    @property
    def union(self) -> float:
        """Share of the coordinates that at least one rank touches."""
        return float(np.bitwise_count(np.bitwise_or.reduce(self.bits)).sum() / self.size)

    @property
    def dense_bytes(self) -> float:
        """Bytes of a vector of all coordinates."""
        return self.size * self.stands_for * self.per_value

    def list_bytes(self, counts: ArrayLike, among: ArrayLike) -> Reals:
        """Return the bytes of lists of `counts` out of `among` sampled coordinates."""
        held, size = np.asarray(counts, np.float64), np.asarray(among, np.float64)
        each = self.units / (self.size * self.stands_for) if self.units else 1.0
        support = np.where(held == size, 0, np.minimum(4 * held, size / 8)) * each
        found: Reals = HEAD + self.stands_for * (held * self.per_value + support)
        return found

    def bounds(self, shares: Sequence[int], lo: int = 0, hi: int | None = None) -> Integers:
        """Return the bounds that cut lo..hi-1 in proportion to `shares`, at multiples of 8."""
        hi = self.size if hi is None else hi
        cuts = lo + (hi - lo) * np.cumsum(shares) // np.sum(shares) // 8 * 8
        return np.concatenate(([lo], cuts[:-1], [hi]))
