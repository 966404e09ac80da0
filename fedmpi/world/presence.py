"""Presence: the interface of traces and generators, which tell the clients present at any second.

Presence depends only on the seed and on virtual time. So nothing is stored between rounds, and
any number of ranks, or a resumed run, finds the same clients.
"""

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Any

import numpy as np

from fedmpi.arrays import Bools, Reals
from fedmpi.errors import ConfigError
from fedmpi.rng import rng_for

DAY = 86400.0
TICK = 1e-3  # seconds; larger than the rounding errors in sums of virtual times


class Presence(ABC):
    """The times at which K clients are present; `shift_s` float64[K] shifts their local clocks."""

    def __init__(self, shift_s: Reals) -> None:
        self.shift_s = shift_s
        # Cached because a round asks twice about its first second, at a cost for each client.
        self.there = lru_cache(maxsize=1)(self.there)  # type: ignore[method-assign]

    @abstractmethod
    def there(self, now: float) -> Bools:
        """Return bool[K], True for clients present at virtual second `now`. Do not change it."""

    @abstractmethod
    def leaves(self, now: float) -> Reals:
        """Return the virtual second at which each present client goes away, float64[K].

        It is infinite for a client that stays, and has no meaning for a client that is away.
        """

    @abstractmethod
    def comes(self, now: float) -> Reals:
        """Return the next second, `now` or later, at which each client is present, float64[K]."""

    def columns(self) -> dict[str, Any]:
        """Return the columns to be recorded for each client, column -> values [K]."""
        return {"shift_s": self.shift_s}

    def begin(self, now: float, able: Bools) -> float:
        """Return the first second, `now` or later, at which any of the clients `able` is present.

        `able` is bool[K]. Raises ConfigError if there is no such second.
        """
        if self.there(now)[able].any():
            return now
        first = float(self.comes(now)[able].min(initial=np.inf))
        if first == np.inf:
            raise ConfigError(
                "devices.trace: no client with samples is ever present; use another trace, or more "
                "clients"
            )
        return first


def shifts(zones: tuple[float, ...], clients: int, seed: int) -> Reals:
    """Return the seconds by which each client's clock is ahead, float64[clients], from `zones`."""
    dealt = np.resize(np.array(zones or (0.0,)), clients)
    return 3600.0 * rng_for(seed, "time-zones").permutation(dealt)
