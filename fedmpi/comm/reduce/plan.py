"""The one small message before a sum: what every rank is about to add."""

from dataclasses import dataclass

import numpy as np

from fedmpi import kernels
from fedmpi.comm.reduce.message import narrow

BINS = 64
UNITS, COORDINATES, WEIGHT, MARKS = 0, 1, 2, slice(3, 7)


def bin_width(size, bins=BINS):
    """Return the width of each bin, a multiple of 64 coordinates."""
    return max(-(-size // (64 * bins)), 1) * 64


def cut(loads, width, size, shares, lo=0, hi=None):
    """Cut coordinates lo..hi-1 so that the loads are in proportion to the shares.

    loads : int64[bins], of bins of `width` coordinates each, even inside a bin
    shares : int[parts]
    Returns int64[parts + 1], multiples of 64 but for lo and hi. Every coordinate counts
    a little too, since its mark is read.
    """
    hi = size if hi is None else hi
    edges = np.minimum(width * np.arange(loads.size + 1), size)
    below = np.concatenate(([0], np.cumsum(16 * loads + np.diff(edges))))

    def inside(x, xs, ys):  # whole numbers: every rank must come to the same
        i = np.clip(np.searchsorted(xs, x, side="right") - 1, 0, xs.size - 2)
        return ys[i] + (x - xs[i]) * (ys[i + 1] - ys[i]) // np.maximum(xs[i + 1] - xs[i], 1)

    first, last = inside(np.array([lo, hi]), edges, below)
    aims = first + np.cumsum(shares)[:-1] * (last - first) // np.sum(shares)
    places = np.clip(inside(aims, below, edges) // 64 * 64, lo, hi)
    return np.concatenate(([lo], places, [hi])).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Plan:
    """What all ranks are about to add; the same on every rank.

    rows : int64[P, 7 + BINS], what each rank said of itself
    size, marks : coordinates, and marks that a scan of them all reads
    per_value, per_weight : bytes of each on the wire
    flat : every coordinate is a unit
    known : coordinates of the union, once they are known
    """

    rows: np.ndarray
    size: int
    marks: int
    per_value: int
    per_weight: int
    flat: bool
    known: int | None = None

    @property
    def ranks(self):
        """Number of ranks, P."""
        return len(self.rows)

    @property
    def same(self):
        """True if all ranks touch the same units."""
        return bool((self.rows[:, MARKS] == self.rows[0, MARKS]).all())

    @property
    def coordinates(self):
        """int64[P]: coordinates touched by each rank."""
        return self.rows[:, COORDINATES]

    @property
    def units_each(self):
        """Units per touched coordinate, at most 1."""
        return self.rows[:, UNITS].sum() / max(self.coordinates.sum(), 1)

    def bounds(self, shares, lo=0, hi=None):
        """Cut lo..hi-1 into ranges whose expected work is in proportion to `shares`."""
        loads = self.rows[:, MARKS.stop :].sum(0)
        return cut(loads, bin_width(self.size), self.size, shares, lo, hi)

    def union(self, ranks):
        """Return the coordinates that some of the first `ranks` ranks touch, expected.

        Supports count as independent inside a bin, unless they are the same.
        """
        if self.known is not None and ranks == self.ranks:
            return float(self.known)
        if self.same or ranks == 1:
            return float(self.coordinates[:ranks].max())
        width = bin_width(self.size)
        filled = np.clip(self.size - width * np.arange(BINS), 1, width)
        missed = np.prod(1 - self.rows[:ranks, MARKS.stop :] / filled, axis=0)
        return float((filled * (1 - missed)).sum())


def exchange(link, field, weight):
    """Tell all ranks what this one is about to add; return (Plan, sum of the weights).

    `weight` is this rank's weight for all units, an int64 or float64 number; the sum is
    made in rank order.
    """
    row = np.zeros(MARKS.stop + BINS, np.int64)
    row[UNITS], row[COORDINATES] = kernels.pack.count(field.touched)[0], field.extent()
    row[WEIGHT] = np.asarray(weight).view(np.int64)
    kernels.merge.fingerprint(field.touched, row[MARKS].view(np.uint64))
    kernels.merge.loads(field.touched, field.starts, bin_width(field.size), row[MARKS.stop :])
    rows = np.empty((link.size, row.size), np.int64)
    link.comm.Allgather(row, rows)
    weights = rows[:, WEIGHT].copy().view(np.asarray(weight).dtype)
    plan = Plan(
        rows,
        field.size,
        field.touched.size,
        per_value=2 if narrow(link, field) else field.total.itemsize,
        per_weight=field.cover.itemsize if field.cover.size else 0,
        flat=field.flat,
    )
    return plan, sum(weights[1:], weights[0])
