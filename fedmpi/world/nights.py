"""Presence by day and night: a phone is available while it charges during its owner's night.

Bonawitz et al. (MLSys 2019, arXiv:1902.01046, section 9) report that phones charge, idle and on
WiFi, mostly at night, so that the number of available phones varies fourfold within a day. The
normally distributed times, drawn for each night and client, are our own choice. Nights begin at
most 6 hours early or late and last at most 12 hours, so nights of one client never overlap.
"""

from functools import lru_cache

import numpy as np

from fedmpi.arrays import Bools, Reals
from fedmpi.rng import rng_for
from fedmpi.world.presence import DAY, TICK, Presence

HOUR = 3600.0
LATE = 6.0  # most hours by which a night begins early or late


class Nights(Presence):
    """Nights of about `hours` hours from about `starts_h` o'clock, both with sigma `spread_h`."""

    def __init__(
        self, seed: int, shift_s: Reals, starts_h: float, hours: float, spread_h: float
    ) -> None:
        super().__init__(shift_s)
        self._seed, self._starts_h, self._hours = seed, starts_h, hours
        self._spread_h = spread_h
        # Cached because `there` calls it, too.
        self.leaves = lru_cache(maxsize=1)(self.leaves)  # type: ignore[method-assign]

    def there(self, now: float) -> Bools:
        here: Bools = self.leaves(now) > -np.inf
        return here

    def leaves(self, now: float) -> Reals:
        start, stop, local = self._around(now)
        inside = (start <= local) & (local < stop)
        end: Reals = now + np.where(inside, stop - local, -np.inf).max(axis=0)
        return end

    def comes(self, now: float) -> Reals:
        start, _, local = self._around(now)
        gap = np.where(start > local, start - local, np.inf).min(axis=0) + TICK
        return np.where(self.there(now), now, now + gap)

    def _around(self, now: float) -> tuple[Reals, Reals, Reals]:
        """Return (starts, ends, local times) of the nights around `now`.

        Starts and ends are float64[n, K], local times float64[K], all in local seconds.
        """
        local = now + self.shift_s
        days = np.floor(np.array([local.min(), local.max()]) / DAY).astype(np.int64)
        # The night after a day's last hour may belong to a later day: with starts_h = -12, a
        # night begins at noon of the day before.
        ahead = int((24 + LATE - self._starts_h) // 24) + 1
        nights = [self._night(day) for day in range(days[0] - 1, days[1] + ahead + 1)]
        start, stop = np.array(nights).transpose(1, 0, 2)
        return start, stop, local

    def _night(self, day: int) -> tuple[Reals, Reals]:
        """Return (start, end) of every client's night of a `day`, float64[K] local seconds each."""
        # Clocks may be behind, so days can be negative, while counters of rng_for cannot.
        normal = rng_for(self._seed, "nights", day + 1024).standard_normal((2, len(self.shift_s)))
        late = np.clip(normal[0] * self._spread_h, -LATE, LATE)
        hours = np.clip(self._hours + normal[1] * self._spread_h, 0.25, 12)
        start = day * DAY + HOUR * (self._starts_h + late)
        return start, start + HOUR * hours
