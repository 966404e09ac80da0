"""Who joins a round, and with which weight."""

from dataclasses import dataclass

import numpy as np

from fedmpi.rng import rng_for


@dataclass(frozen=True, eq=False)
class Cohort:
    """The clients of one round: ids int64[n], ascending, and their shares float64[n]."""

    clients: np.ndarray
    shares: np.ndarray


def cohort_of(seed, round, sizes, number, weighting):
    """Draw the cohort of a round: a function of the seed and the round alone.

    Parameters
    ----------
    sizes : int64[K]
        Samples of each client; a client without samples is never drawn.
    number : int
        How many clients join, at most as many as have samples.
    weighting : "samples" or "uniform"
        Shares add up to one, in proportion to the samples or all equal.
    """
    able = np.flatnonzero(sizes)
    drawn = rng_for(seed, "cohort", round).choice(
        able.size, min(number, able.size), replace=False, shuffle=False
    )
    clients = able[np.sort(drawn)]
    weights = sizes[clients].astype(np.float64) if weighting == "samples" else np.ones(clients.size)
    return Cohort(clients, weights / weights.sum())
