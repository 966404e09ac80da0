"""Inputs of the reduction tests, made from a seed on every rank, and their correct sums."""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

SUPPORTS = ("independent", "identical", "blocks", "skewed", "few", "empty", "full", "one rank")
UNITS = ("coordinates", "rows", "layers", "model")


@dataclass(frozen=True, eq=False)
class Case:
    """The contributions of all ranks; every rank knows them all."""

    totals: np.ndarray  # int64[P, n] or float32[P, n]
    covers: np.ndarray  # [P, U]
    touched: np.ndarray  # uint8[P, U]
    starts: np.ndarray  # int64[U + 1]

    def copy(self, rank):
        """Return one rank's (total, cover, touched, starts), free to be changed."""
        rows = (array[rank].copy() for array in (self.totals, self.covers, self.touched))
        return (*rows, self.starts)

    @cached_property
    def expected(self):
        """Return (total, cover, touched) of all ranks, by numpy; exact for integers."""
        return self.totals.sum(0), self.covers.sum(0), self.touched.max(0)


def starts_of(units, size):
    """Return int64[U+1]: where the units begin."""
    if units == "coordinates":
        return np.arange(size + 1)
    if units == "rows":  # of uneven length, single coordinates among them
        cuts = np.cumsum(np.tile([7, 1, 30, 2], size))
    else:
        cuts = np.array([size // 10, size // 3, size // 3 + 1] if units == "layers" else [], int)
    return np.unique(np.concatenate(([0], cuts[cuts < size], [size]))).astype(np.int64)


def marks(rng, support, ranks, units, density):
    """Return uint8[P, U]: which units each rank touches."""
    at = np.arange(units) / max(units, 1)
    flags = rng.random((ranks, units)) < density
    if support == "identical":
        flags[:] = flags[0]
    elif support == "blocks":
        flags = (at >= np.arange(ranks)[:, None] / (2 * ranks)) & (at < 0.6) & flags
    elif support == "skewed":
        flags = rng.random((ranks, units)) < 4 * density * (1 - at) ** 6
    elif support == "few":
        flags = rng.random((ranks, units)) < density / 10
    elif support in ("empty", "full"):
        flags[:] = support == "full"
    elif support == "one rank":
        flags[: ranks - 1] = False
    return flags.astype(np.uint8)


@cache
def make(ranks, size, units="coordinates", support="independent", density=0.2, kind=np.int64):
    """Return a Case, which must stay as it is.

    int64 values use all bits that a sum can, zeros and cancellations too.
    """
    rng = np.random.default_rng([ranks, size, len(units), len(support)])
    starts = starts_of(units, size)
    touched = marks(rng, support, ranks, starts.size - 1, density)
    mask = np.repeat(touched, np.diff(starts), axis=1)
    if kind == np.int64:
        values = rng.integers(-(2**58), 2**58, (ranks, size))
    else:
        values = rng.standard_normal((ranks, size)).astype(np.float32)
    values[rng.random((ranks, size)) < 0.1] = 0
    if ranks > 1:
        some = rng.random(size) < 0.1
        values[1, some] = -values[0, some]
    covers = rng.integers(1, 5, (ranks, starts.size - 1)) * 2**40 * touched
    return Case(np.where(mask, values, 0), covers.astype(kind), touched, starts)
