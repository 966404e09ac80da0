"""Who joins a round, and with which weight."""

from dataclasses import dataclass

import numpy as np

from fedmpi.rng import rng_for


@dataclass(frozen=True, eq=False)
class Cohort:
    """The clients of one round: ids int64[n], ascending, and their shares float64[n].

    `dropped` bool[n] says who sends nothing: it is lost once it has its message, or called off.
    """

    clients: np.ndarray
    shares: np.ndarray
    dropped: np.ndarray


def cohort_of(seed, round, sizes, number, weighting):
    """Draw the cohort of a round: a function of the seed and the round alone.

    Parameters
    ----------
    sizes : int64[K]
        Samples of each client; 0 for one that is away. Without samples it is never drawn.
    number : int
        How many clients join, at most as many as have samples; nobody if none has.
    weighting : "samples" or "uniform"
        Shares add up to one, in proportion to the samples or all equal.
    """
    able = np.flatnonzero(sizes)
    drawn = rng_for(seed, "cohort", round).choice(
        able.size, min(number, able.size), replace=False, shuffle=False
    )
    clients = able[np.sort(drawn)]
    shares = shares_of(sizes[clients], weighting)
    return Cohort(clients, shares, np.zeros(clients.size, bool))


def shares_of(sizes, weighting):
    """Return float64[n]: the shares of clients with `sizes` int64[n] samples; 0 of those with none.

    They add up to one, in proportion to the samples or all equal.
    """
    weights = (sizes if weighting == "samples" else sizes > 0).astype(np.float64)
    return weights / max(weights.sum(), 1.0)
