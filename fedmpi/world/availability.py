"""Availability and dropout: clients away in a round or lost during it, drawn from the seed alone.

Bonawitz et al. (MLSys 2019, arXiv:1902.01046, section 9) saw 6 to 10 % of the participating devices
drop out of a round, because of failures or because the phone was needed for something else.
"""

import numpy as np

from fedmpi.arrays import Bools, Integers
from fedmpi.rng import rng_for, uniforms_for
from fedmpi.world.devices import Devices


def available(devices: Devices, seed: int, round: int, now: float = 0.0) -> Bools | None:
    """Return bool[K], True for clients that can be selected in a round.

    The round begins at virtual second `now`. If every client can always be selected, the result is
    None and nothing is drawn.
    """
    there = None if devices.presence is None else devices.presence.there(now)
    if not devices.may_be_away:
        return there
    drawn = rng_for(seed, "availability", round).random(len(devices.availability))
    found = drawn < devices.availability
    return found if there is None else found & there


def dropped(devices: Devices, clients: Integers, seed: int, round: int) -> Bools:
    """Return bool[n], True for the selected `clients` int64[n] that are lost in a round."""
    if not devices.may_be_lost:
        return np.zeros(len(clients), np.bool_)
    drawn = uniforms_for(seed, "dropout", round, clients)[:, 0]
    return drawn < devices.dropout[clients]
