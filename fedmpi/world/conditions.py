"""The conditions of one round: device rates, the deadline, and the departures of clients."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from fedmpi.arrays import Integers, Reals
from fedmpi.rng import uniforms_for
from fedmpi.world.devices import Devices
from fedmpi.world.profile import RATES
from fedmpi.world.schedule import Schedule


@dataclass(frozen=True, eq=False)
class Conditions:
    """The world in a round that begins at virtual second `start`.

    `devices` has the rates of this round, which are looked up by client. `left` float64[K] holds
    the seconds from `start` until each client goes away, or is None if no client does.
    """

    devices: Devices
    schedule: Schedule
    start: float
    left: Reals | None = None

    def for_each(self, clients: Integers | Any) -> Schedule:
        """Return a Schedule in which the reports of `clients` are late after they went away, too.

        Use it for `late`, `through` and `cut_off`. The end of a round follows from `schedule`.
        """
        if self.left is None:
            return self.schedule
        return Schedule(np.minimum(self.schedule.deadline_s, self.left[clients]))

    def away(self, clients: Integers, late: Any) -> Any:
        """Return bool[n], True for those of the `late` bool[n] that left before the deadline."""
        if self.left is None:
            return late & False
        return late & (self.left[clients] < self.schedule.deadline_s)


def conditions_of(
    devices: Devices, schedule: Schedule, seed: int, round: int, now: float
) -> Conditions:
    """Return the Conditions of a round, which depend only on seed, round and virtual time."""
    changed: dict[str, Any] = {}
    if (links := devices.links) is not None:
        changed["up_mbit_s"] = Varied(lambda clients: links.at(now, clients)[0])
        changed["down_mbit_s"] = Varied(lambda clients: links.at(now, clients)[1])
    if devices.jitter:
        jitter = Jitter(devices.jitter, seed, round)
        for number, name in enumerate(RATES):
            usual = changed.get(name, getattr(devices, name))
            changed[name] = Varied(partial(jitter.applied, usual, number))
    found = replace(devices, **changed) if changed else devices
    left = None if devices.presence is None else devices.presence.leaves(now) - now
    return Conditions(found, schedule, now, left)


class Varied:
    """A column of Devices in one round, computed only for the clients that are looked up."""

    def __init__(self, of: Callable[[Any], Any]) -> None:
        self._of = of

    def __getitem__(self, clients: Any) -> Any:
        return self._of(clients)


class Jitter:
    """Log-normal factors of the RATES in one round, drawn only for the clients looked up."""

    def __init__(self, deviation: float, seed: int, round: int) -> None:
        self._deviation, self._seed, self._round = deviation, seed, round

    def applied(self, usual: Any, number: int, clients: Any) -> Any:
        """Return rate `number` of RATES of `clients`, float64[n]: the `usual` rate times a factor.

        Four uniform numbers give two pairs of normal numbers (Box and Muller, 1958).
        """
        drawn = uniforms_for(self._seed, "jitter", self._round, clients)
        pair, turn = divmod(number, 2)
        length = np.sqrt(-2 * np.log1p(-drawn[..., 2 * pair]))
        angle = 2 * np.pi * (drawn[..., 2 * pair + 1] - turn / 4)
        return usual[clients] * np.exp(self._deviation * length * np.cos(angle))
