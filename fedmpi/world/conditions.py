"""What holds in a round: the devices as they are then, and how long the server waits for each."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedmpi.arrays import Integers, Reals
from fedmpi.rng import rng_for
from fedmpi.world.devices import Devices
from fedmpi.world.schedule import Schedule


@dataclass(frozen=True, eq=False)
class Conditions:
    """The world in a round that begins at virtual second `start`.

    `devices` have the rates of this round. `left` float64[K] are the seconds from then on until
    each client goes away; None if nobody does.
    """

    devices: Devices
    schedule: Schedule
    start: float
    left: Reals | None = None

    def for_each(self, clients: Integers | Any) -> Schedule:
        """Return the Schedule of each of `clients`: a report is late, too, after it went away.

        For `late`, `through` and `settled`; a round ends by the schedule of all.
        """
        if self.left is None:
            return self.schedule
        return Schedule(np.minimum(self.schedule.deadline_s, self.left[clients]))

    def away(self, clients: Integers, late: Any) -> Any:
        """Return bool[n]: which of the `late` bool[n] went away before any deadline."""
        if self.left is None:
            return late & False
        return late & (self.left[clients] < self.schedule.deadline_s)


def conditions_of(
    devices: Devices, schedule: Schedule, seed: int, round: int, now: float
) -> Conditions:
    """Return the Conditions of a round: a function of seed, round and virtual time alone."""
    changed = {}
    if devices.links is not None:
        changed["up_mbit_s"], changed["down_mbit_s"] = devices.links.at(now)
    if devices.jitter:
        shape = (4, len(devices.gflop_s))
        factors = np.exp(devices.jitter * rng_for(seed, "jitter", round).standard_normal(shape))
        for name, factor in zip(RATES, factors, strict=True):
            changed[name] = changed.get(name, getattr(devices, name)) * factor
    found = replace(devices, **changed) if changed else devices
    left = None if devices.presence is None else devices.presence.leaves(now) - now
    return Conditions(found, schedule, now, left)


RATES = ("gflop_s", "up_mbit_s", "down_mbit_s", "latency_s")
