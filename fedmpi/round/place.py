"""Which rank simulates which client. Free to choose: no result depends on it."""

import heapq
from collections import Counter

import numpy as np


def place(costs, pace):
    """Give each client to the rank that is free first, costliest clients first.

    Every rank computes the same answer from the same numbers (longest processing time
    first; Graham, SIAM J. Appl. Math. 1969).

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
    free = [(0.0, rank) for rank in range(len(pace))]
    for client in np.argsort(-costs, kind="stable"):
        seconds, rank = free[0]
        heapq.heapreplace(free, (seconds + costs[client] * pace[rank], rank))
        ranks[client] = rank
    return ranks


def at_home(ranks, costs, homes):
    """Let clients of equal cost change places so that as many as can stay where they are.

    Parameters
    ----------
    ranks : int64[n]
        From `place`; the load of each rank stays the same.
    costs : float64[n]
    homes : int64[n]
        The rank that holds what each client keeps between rounds, -1 for none.

    Returns
    -------
    int64[n]
        The rank of each client.
    """
    order, ranks = np.argsort(costs, kind="stable"), ranks.copy()
    for alike in np.split(order, np.flatnonzero(np.diff(costs[order])) + 1):
        free, moving = Counter(ranks[alike].tolist()), []
        for client, home in zip(alike.tolist(), homes[alike].tolist(), strict=True):
            if free[home]:  # of no home there is none
                free[home] -= 1
                ranks[client] = home
            else:
                moving.append(client)
        ranks[moving] = sorted(free.elements())
    return ranks
