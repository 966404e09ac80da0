"""Sparse allreduce schemes of other authors, in our own code, as arms to compare with.

Each function returns a call that sums each rank's (indices uint32[k] ascending, values
float32[k]) of n coordinates. Exact schemes return float32[n]; lossy schemes return the
(indices, values) that they kept. `raw` is an mpi4py communicator.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fedmpi.arrays import AnyArray, Vector
from fedmpi.bench.all_ranks import of_all
from fedmpi.comm.reduce.field import Units

if TYPE_CHECKING:
    from fedmpi.comm.mpi import Raw

Kept: TypeAlias = tuple[Units, Vector]
"""(indices, values) of the part of a sum that a rank has."""


def pickled(raw: "Raw", n: int, indices: Units, values: Vector) -> Callable[[], AnyArray]:
    """Return the call of mpi4py's lower-case allreduce: the whole vector, pickled."""

    def call() -> AnyArray:
        dense = np.zeros(n, np.float32)
        dense[indices] = values
        found: AnyArray = raw.allreduce(dense)
        return found

    return call


def gathered(raw: "Raw", n: int, indices: Units, values: Vector) -> Callable[[], Vector]:
    """Return the call of "TopkA": Allgatherv of all lists, then numpy's unbuffered add."""
    out = np.zeros(n, np.float32)

    def call() -> Vector:
        out[:] = 0
        np.add.at(out, *_gather(raw, indices, values))
        return out

    return call


def gtopk(raw: "Raw", n: int, indices: Units, values: Vector) -> Callable[[], Kept]:
    """Return the call of gTop-k (Shi et al., ICDCS 2019, arXiv:1901.04359).

    It merges along a binomial tree to rank 0, for any number of ranks, keeps the k largest entries
    after each merge, and broadcasts them. Lossy.
    """
    k = indices.size

    def call() -> Kept:
        mine, terms, step = indices, values, 1
        while step < raw.size:
            if raw.rank % (2 * step):
                raw.Send(mine, raw.rank - step)
                raw.Send(terms, raw.rank - step)
                break
            if raw.rank + step < raw.size:
                theirs, more = np.empty(k, np.uint32), np.empty(k, np.float32)
                raw.Recv(theirs, raw.rank + step)
                raw.Recv(more, raw.rank + step)
                mine, terms = _largest(_merged(mine, terms, theirs, more), k)
            step *= 2
        mine, terms = mine.copy(), terms.copy()
        raw.Bcast(mine)
        raw.Bcast(terms)
        return mine, terms

    return call


def oktopk(raw: "Raw", n: int, indices: Units, values: Vector) -> Callable[[], Kept]:
    """Return the call of Ok-Topk (Li and Hoefler, PPoPP 2022, arXiv:2201.07598).

    It splits the coordinates into regions with equal numbers of entries, by the mean of the ranks'
    quantiles, and reduces each region on its owner. The owners keep entries above a threshold that
    is found once and reused, as in the paper; these entries are gathered. Lossy.
    """
    size = raw.size
    parts = np.arange(1, size) * indices.size // size
    cuts = np.zeros(size - 1)
    raw.Allreduce(indices[parts].astype(np.float64), cuts)
    bounds = np.concatenate(([0], cuts // size, [n])).astype(np.int64)
    state: dict[str, float] = {}

    def call() -> Kept:
        ends = np.searchsorted(indices, bounds)
        counts, theirs = np.diff(ends), np.empty(size, np.int64)
        raw.Alltoall(counts, theirs)
        mine, terms = np.empty(theirs.sum(), np.uint32), np.empty(theirs.sum(), np.float32)
        raw.Alltoallv([indices, counts], [mine, theirs])
        raw.Alltoallv([values, counts], [terms, theirs])
        lo, hi = bounds[raw.rank : raw.rank + 2]
        dense = np.bincount(mine - lo, terms, hi - lo).astype(np.float32)
        if "threshold" not in state:
            state["threshold"] = _threshold(raw, dense, indices.size)
        kept = np.flatnonzero((dense != 0) & (np.abs(dense) >= state["threshold"]))
        return _gather(raw, (kept + lo).astype(np.uint32), dense[kept])

    return call


def _merged(mine: Units, terms: Vector, theirs: Units, more: Vector) -> Kept:
    """Return the sum of two lists."""
    units, places = np.unique(np.concatenate((mine, theirs)), return_inverse=True)
    return units, np.bincount(places, np.concatenate((terms, more))).astype(np.float32)


def _largest(summed: Kept, k: int) -> Kept:
    """Return the k entries of largest magnitude, in the order of their units."""
    units, terms = summed
    if units.size > k:
        kept = np.sort(np.argpartition(np.abs(terms), units.size - k)[units.size - k :])
        return units[kept], terms[kept]
    return units, terms


def _threshold(raw: "Raw", dense: Vector, k: int) -> float:
    """Return the magnitude of the k-th largest sum over all regions."""
    sizes = np.abs(dense[dense != 0])
    _, every = _gather(raw, np.zeros(sizes.size, np.uint32), sizes)
    if every.size <= k:
        return 0.0
    return float(np.partition(every, every.size - k)[every.size - k])


def _gather(raw: "Raw", units: Units, terms: Vector) -> Kept:
    """Return the lists of all ranks, in rank order."""
    counts = of_all(raw, units.size)
    every, sums = np.empty(counts.sum(), np.uint32), np.empty(counts.sum(), np.float32)
    raw.Allgatherv(units, [every, counts])
    raw.Allgatherv(terms, [sums, counts])
    return every, sums
