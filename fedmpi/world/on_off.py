"""Presence as a Markov chain: exponential spells there and away, without memory.

Each client's state at a second follows from the last event of two Poisson processes: it comes
with rate 1 / off_s and goes with rate 1 / on_s (kernels/chains.py).
"""

from functools import lru_cache
from math import exp, factorial

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Bools, Reals
from fedmpi.rng import round_keys
from fedmpi.world.presence import Presence

EVENTS = 3.0  # of a process in a block, on average
MOST = 40  # events that a block can have; P(more) is below 1e-28


class OnOff(Presence):
    """There for `on_s` and away for `off_s` seconds on average, each client by itself."""

    def __init__(self, seed: int, shift_s: Reals, on_s: float, off_s: float) -> None:
        super().__init__(shift_s)
        self._keys = round_keys(seed, "comes"), round_keys(seed, "goes")
        self._blocks_s = EVENTS * off_s, EVENTS * on_s
        self._below = np.cumsum([exp(-EVENTS) * EVENTS**n / factorial(n) for n in range(MOST)])
        self._below[-1] = 1.0
        self._changes = lru_cache(maxsize=1)(self._changes)  # type: ignore[method-assign]

    def there(self, now: float) -> Bools:
        """Return bool[K]: who is there."""
        return self._changes(now)[0]

    def leaves(self, now: float) -> Reals:
        """Return float64[K]: when each client goes."""
        return self._changes(now)[1]

    def comes(self, now: float) -> Reals:
        """Return float64[K]: `now`, or when each client comes."""
        there, change = self._changes(now)
        return np.where(there, now, change)

    def _changes(self, now: float) -> tuple[Bools, Reals]:
        """Return bool[K], who is there, and float64[K], when that changes."""
        clients = len(self.shift_s)
        there, change = np.empty(clients, np.bool_), np.empty(clients)
        law = *self._keys, *self._blocks_s, self._below
        kernels.chains.changes(there, change, *law, float(now))
        return there, change
