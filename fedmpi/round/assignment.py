"""Assign clients to ranks, which balances the load and changes no result."""

import numpy as np

from fedmpi.arrays import Integers, Reals
from fedmpi.kernels import longest_first


def assign(costs: Reals, pace: Reals) -> Integers:
    """Assign each client, costliest first, to the rank that becomes free first.

    This is longest processing time first (Graham, SIAM J. Appl. Math. 1969). Every rank computes
    the same result from the same numbers.

    Parameters
    ----------
    costs : float64[n]
        Predicted work of each client, in any unit.
    pace : float64[ranks]
        Seconds that each rank takes for one unit of work.

    Returns
    -------
    int64[n]
        The rank of each client.
    """
    ranks = np.zeros(len(costs), np.int64)
    if len(pace) > 1:
        longest_first.share_out(np.argsort(-costs, kind="stable"), costs, pace, ranks)
    return ranks


def at_home(ranks: Integers, costs: Reals, homes: Integers) -> Integers:
    """Swap clients of equal cost so that as many as possible stay on their home rank.

    Parameters
    ----------
    ranks : int64[n]
        Ranks from `assign`; the load of each rank does not change.
    costs : float64[n]
    homes : int64[n]
        The rank that holds each client's memory, -1 for none.

    Returns
    -------
    int64[n]
        The rank of each client.
    """
    order = np.argsort(costs, kind="stable")
    group = np.cumsum(np.diff(costs[order], prepend=np.nan) != 0)  # clients of equal cost
    width = max(ranks.max(initial=0), homes.max(initial=0)) + 2  # so -1 gives no other group's key
    places = np.sort(group * width + ranks[order])  # a place for each client, by group and rank
    wanted = group * width + homes[order]
    staying = _turns(wanted) < _count(places, wanted)
    taken = _turns(places) < _count(np.sort(wanted[staying]), places)
    found = np.where(staying, homes[order], 0)
    found[~staying] = places[~taken] % width  # the numbers match in each group
    placed = np.empty_like(ranks)
    placed[order] = found
    return placed


def _turns(keys: Integers) -> Integers:
    """Return the number of equal keys before each of `keys` int64[n], int64[n]."""
    order = np.argsort(keys, kind="stable")
    first = np.flatnonzero(np.diff(keys[order], prepend=-2))  # no key is below -1
    turns = np.empty(len(keys), np.int64)
    turns[order] = np.arange(len(keys)) - np.repeat(first, np.diff(first, append=len(keys)))
    return turns


def _count(among: Integers, keys: Integers) -> Integers:
    """Return how often each of `keys` int64[n] occurs in the sorted `among`, int64[n]."""
    return np.searchsorted(among, keys, side="right") - np.searchsorted(among, keys)
