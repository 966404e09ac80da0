"""Weighted sums over clients, and the mean that they give.

Every averaging rule of the methods is one formula, with shares a, supports m and
client values x:

    mean = sum(a m x) / sum(a m), the old value where sum(a m) = 0

The denominators are kept per unit of a level (layout.py), as coarse as the method's
supports allow: one number for whole models, one per row for skeletons.
"""

import numpy as np

from fedmpi import kernels
from fedmpi.layout import Support


class Total:
    """The sum of one flat quantity over clients, and the weight behind each unit.

    Attributes
    ----------
    sum : int64[P], or float32[P] if not exact
    cover : int64[U], or float32[U] if not exact
        Weight behind each unit of `level`, in the same scale as `sum`.
    """

    def __init__(self, layout, level="model", exact=True):
        dtype = np.int64 if exact else np.float32
        self.layout, self.level, self.exact = layout, level, exact
        self.starts = layout.starts(level)
        self.sum = np.zeros(layout.size, dtype)
        self.cover = np.zeros(self.starts.size - 1, dtype)

    def add(self, values, share, support=None):
        """Add float32[P] `values` of one client with weight `share` on `support` (default: all).

        Values outside the support are not read. The support may be of this total's
        level or a coarser one.
        """
        support = support or Support.all(self.layout)
        keep = support.at(self.level).keep
        add = kernels.sums.add_exact if self.exact else kernels.sums.add_fast
        add(self.sum, support.starts, support.keep, values, share)
        weight = round(share * kernels.sums.SCALE) if self.exact else np.float32(share)
        self.cover[keep != 0] += weight

    def mean(self, old):
        """Return float32[P]: the weighted mean, and `old` where nobody added anything."""
        out = np.empty_like(old)
        kernels.sums.mean(out, old, self.sum, self.cover, self.starts)
        return out

    @property
    def weight(self):
        """float64[U]: the sum of the shares behind each unit."""
        return self.cover / (kernels.sums.SCALE if self.exact else 1.0)

    @property
    def covered(self):
        """Part of the coordinates that at least one client added to."""
        held = np.diff(self.starts)[self.cover > 0].sum()
        return float(held / max(self.layout.size, 1))

    @property
    def touched(self):
        """uint8[U]: 1 where anything was added to a unit, even zeros."""
        return (self.cover > 0).astype(np.uint8)

    def take(self, total, cover):
        """Take the sums over all ranks in the place of this rank's; they are only read."""
        self.sum, self.cover = total, cover


def fits(values):
    """Say whether float32[P] `values` can be summed exactly: finite and below 2**18."""
    return kernels.sums.largest(values) < kernels.sums.LIMIT
