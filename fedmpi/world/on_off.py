"""Presence as a Markov chain, with exponentially distributed spells of presence and absence.

A client's state at any second follows from the last event of two Poisson processes: arrivals with
rate 1 / off_s and departures with rate 1 / on_s (kernels/chains.py).
"""

from functools import lru_cache
from math import exp, factorial

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Bools, Reals
from fedmpi.rng import round_keys
from fedmpi.world.presence import Presence

EVENTS = 3.0  # mean number of events of a process in a block
MOST = 40  # a block has fewer events than this; the probability of more is below 1e-28


class OnOff(Presence):
    """Independent clients, present for `on_s` and away for `off_s` seconds on average."""

    def __init__(self, seed: int, shift_s: Reals, on_s: float, off_s: float) -> None:
        super().__init__(shift_s)
        self._keys = round_keys(seed, "comes"), round_keys(seed, "goes")
        self._blocks_s = EVENTS * off_s, EVENTS * on_s
        self._below = np.cumsum([exp(-EVENTS) * EVENTS**n / factorial(n) for n in range(MOST)])
        self._below[-1] = 1.0
        self._changes = lru_cache(maxsize=1)(self._changes)  # type: ignore[method-assign]

    def there(self, now: float) -> Bools:
        """Return bool[K], True for clients that are present at virtual second `now`."""
        return self._changes(now)[0]

    def leaves(self, now: float) -> Reals:
        """Return the second at which each client goes away, float64[K]."""
        return self._changes(now)[1]

    def comes(self, now: float) -> Reals:
        """Return the second at which each client comes, or `now` if present, float64[K]."""
        there, change = self._changes(now)
        return np.where(there, now, change)

    def _changes(self, now: float) -> tuple[Bools, Reals]:
        """Return (bool[K] True for present clients, float64[K] second of each one's change)."""
        clients = len(self.shift_s)
        there, change = np.empty(clients, np.bool_), np.empty(clients)
        law = *self._keys, *self._blocks_s, self._below
        kernels.chains.changes(there, change, *law, float(now))
        return there, change
