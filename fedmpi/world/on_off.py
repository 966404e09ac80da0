"""Presence as a Markov chain: exponential spells there and away, without memory.

A chain with two states and rates a (comes) and b (goes) is the same as this: at the events of a
Poisson process of rate a + b the state is drawn afresh, "there" with probability a / (a + b)
(uniformisation; Jensen, "Markoff chains as an aid in the study of Markoff processes", 1953).
So the state at a second is that of the last event before it, and is found without the whole past.
"""

import numpy as np

from fedmpi.arrays import Reals
from fedmpi.rng import rng_for
from fedmpi.world.presence import Presence

EVENTS = 8.0  # of the Poisson process in a block, on average
AHEAD = 512  # blocks that are searched for a change; a spell seen to last longer never ends
PART = 1 << 16  # clients whose events are held at a time
_MIDDLE = 1 << 40  # block number of virtual second 0, so that blocks before it have numbers


class OnOff(Presence):
    """There for `on_s` and away for `off_s` seconds on average, each client by itself."""

    def __init__(self, seed: int, shift_s: Reals, on_s: float, off_s: float) -> None:
        super().__init__(shift_s)
        self._seed, self._on = seed, on_s / (on_s + off_s)
        self._block_s = EVENTS / (1 / on_s + 1 / off_s)

    def there(self, now):
        return self._in_parts(self._there, now)

    def leaves(self, now):
        return self._in_parts(self._next, now, False)

    def comes(self, now):
        return np.where(self.there(now), now, self._in_parts(self._next, now, True))

    def _in_parts(self, answer, *about):
        """Return what `answer` says of all clients, PART of them at a time."""
        total = len(self.shift_s)
        sizes = [min(PART, total - first) for first in range(0, total, PART)]
        found = [answer(part, size, *about) for part, size in enumerate(sizes)]
        return np.concatenate(found) if found else np.zeros(0)

    def _there(self, part, size, now):
        """Return bool[size]: who of a part is there."""
        state, block = np.zeros(size, bool), int(now // self._block_s)
        open_ = np.arange(size)
        while len(open_):
            times, on = self._events(block, part, size, open_)
            before = np.where(times <= now, times, -np.inf)
            last = before.argmax(axis=1)
            rows = np.arange(len(open_))
            state[open_] = on[rows, last]
            open_ = open_[np.isneginf(before[rows, last])]
            block -= 1
        return state

    def _next(self, part, size, now, wanted):
        """Return float64[size]: when a part's clients first draw `wanted` after `now`."""
        found, block = np.full(size, np.inf), int(now // self._block_s)
        for number in range(block, block + AHEAD):
            open_ = np.flatnonzero(np.isinf(found))
            if not len(open_):
                break
            times, on = self._events(number, part, size, open_)
            found[open_] = np.where((times > now) & (on == wanted), times, np.inf).min(axis=1)
        return found

    def _events(self, block, part, size, clients):
        """Return the events of `clients` int64[n] of a part in a block, and states drawn there.

        float64[n, m] seconds, infinite where there is no event, and bool[n, m].
        """
        rng = rng_for(self._seed, "on-off", _MIDDLE + block, part)
        counts = rng.poisson(EVENTS, size)
        shape = (len(counts), max(int(counts.max(initial=0)), 1))
        places, on = rng.random(shape), rng.random(shape) < self._on
        if len(clients) < size:
            counts, places, on = counts[clients], places[clients], on[clients]
        times = (block + places) * self._block_s
        times[np.arange(shape[1]) >= counts[:, None]] = np.inf
        return times, on
