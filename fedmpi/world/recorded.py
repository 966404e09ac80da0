"""Recorded presence: the spells in which real devices were available, repeated forever."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fedmpi.arrays import Bools, Integers, Reals
from fedmpi.world.presence import TICK, Presence


class Spells(NamedTuple):
    """The spells in which T devices were present.

    Device t was present from `start[i]` to `stop[i]`, float64 seconds, for i from `first[t]` to
    `first[t + 1]` - 1, with `first` int64[T+1]. Its spells are in order and do not touch. Its
    record repeats after `length[t]` seconds, float64[T].
    """

    start: Reals
    stop: Reals
    first: Integers
    length: Reals


def spells_of(rows: tuple[tuple[float, ...], ...]) -> Spells:
    """Return the Spells of rows (length, start, stop, start, stop, ...), one for each device."""
    counts = [(len(row) - 1) // 2 for row in rows]
    start = np.array([second for row in rows for second in row[1::2]], np.float64)
    stop = np.array([second for row in rows for second in row[2::2]], np.float64)
    first = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    if not len(start):  # spells are looked up even if no device was ever present
        start, stop = np.zeros(1), np.zeros(1)
    return Spells(start, stop, first, np.array([row[0] for row in rows], np.float64))


class Recorded(Presence):
    """Presence in which client k is present when device `device[k]`, int64[K], was."""

    def __init__(self, spells: Spells, device: Integers, shift_s: Reals) -> None:
        super().__init__(shift_s)
        self._spells, self.device = spells, device
        self._low, self._high = spells.first[device], spells.first[device + 1]
        self._length = spells.length[device]
        # Cached because `there`, `leaves` and `comes` all call it.
        self._find = lru_cache(maxsize=1)(self._find)  # type: ignore[method-assign]

    def there(self, now: float) -> Bools:
        local, last = self._find(now)
        inside = last >= self._low
        here: Bools = inside & (local < self._stop(last))
        return here

    def leaves(self, now: float) -> Reals:
        local, last = self._find(now)
        end = self._stop(last)
        # A spell that lasts to the end of the record continues in the first spell.
        again = self._spells.start[self._inside(self._low)] == 0
        goes_on = (end >= self._length) & again & (self._low < self._high)
        end = np.where(goes_on, self._length + self._stop(self._low), end)
        always = goes_on & (self._stop(self._low) >= self._length)
        return np.where(always, np.inf, now + end - local)

    def comes(self, now: float) -> Reals:
        local, last = self._find(now)
        later = last + 1 < self._high
        start = self._spells.start[self._inside(np.where(later, last + 1, self._low))]
        gap = np.where(later, start, self._length + start) - local
        gap = np.where(self._low < self._high, gap + TICK, np.inf)
        return np.where(self.there(now), now, now + gap)

    def columns(self) -> dict[str, Any]:
        return super().columns() | {"trace": self.device}

    def _find(self, now: float) -> tuple[Reals, Integers]:
        """Return (each client's second in its record, its last spell begun by that second)."""
        local = np.mod(now + self.shift_s, self._length)
        return local, last_before(self._spells.start, self._low, self._high, local)

    def _stop(self, spell: Integers) -> Reals:
        return self._spells.stop[self._inside(spell)]

    def _inside(self, spell: Integers) -> Integers:
        """Clip indices of spells into the table, since devices without spells have invalid ones."""
        return np.clip(spell, 0, max(len(self._spells.start) - 1, 0))


def last_before(values: Reals, low: Integers, high: Integers, wanted: Reals) -> Integers:
    """Return the last i in [low, high) with values[i] <= wanted, or else low - 1, int64[K].

    `values` float64[m] ascends within each of the K ranges. One binary search handles all ranges.
    """
    below, above = low - 1, high.copy()
    while (open_ := above - below > 1).any():
        middle = (below + above) // 2
        found = open_ & (values[np.where(open_, middle, 0)] <= wanted)
        below = np.where(found, middle, below)
        above = np.where(open_ & ~found, middle, above)
    return below
