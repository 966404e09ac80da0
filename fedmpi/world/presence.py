"""Which clients are there at a virtual second: the seam of traces and generators.

Each is a function of the seed and of virtual time alone. So nothing is kept between rounds, and
every number of ranks, and a resumed run, finds the same clients.
"""

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Any

import numpy as np

from fedmpi.arrays import Bools, Reals
from fedmpi.errors import ConfigError
from fedmpi.rng import rng_for

DAY = 86400.0
TICK = 1e-3  # seconds; past the rounding of sums of virtual times


class Presence(ABC):
    """When the devices of K clients can take part. `shift_s` float64[K] are their time zones."""

    def __init__(self, shift_s: Reals) -> None:
        self.shift_s = shift_s
        # A round asks twice about its first second, and an answer takes a step for each client.
        self.there = lru_cache(maxsize=1)(self.there)  # type: ignore[method-assign]

    @abstractmethod
    def there(self, now: float) -> Bools:
        """Return bool[K]: who is there at virtual second `now`; kept for the next caller."""

    @abstractmethod
    def leaves(self, now: float) -> Reals:
        """Return float64[K]: the second at which each client that is there goes away.

        Infinite for one that stays. Without meaning for a client that is not there.
        """

    @abstractmethod
    def comes(self, now: float) -> Reals:
        """Return float64[K]: a second from which each client is there, at least `now`."""

    def columns(self) -> dict[str, Any]:
        """Return what is to be recorded of each client: column -> values [K]."""
        return {"shift_s": self.shift_s}

    def begin(self, now: float, able: Bools) -> float:
        """Return the first second from `now` on at which one of the clients `able` is there.

        Raises ConfigError if that is never.
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
    """Return float64[clients]: seconds that each client's clock is ahead; dealt over `zones`."""
    dealt = np.resize(np.array(zones or (0.0,)), clients)
    return 3600.0 * rng_for(seed, "time-zones").permutation(dealt)
