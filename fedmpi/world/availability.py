"""Who is there in a round, and who is lost in the middle of it: drawn from the seed alone.

Bonawitz et al. (MLSys 2019, arXiv:1902.01046, section 9) saw 6 to 10 % of the devices that take
part drop out of a round, by failures, or because a phone was needed for something else.
"""

import numpy as np

from fedmpi.rng import rng_for


def available(devices, seed, round, now=0.0):
    """Return bool[K]: which clients can be selected in a round that begins at second `now`.

    None if all can be, always: then nothing is drawn.
    """
    if devices.always:
        return None
    drawn = rng_for(seed, "availability", round).random(len(devices.availability))
    found = drawn < devices.availability
    return found if devices.presence is None else found & devices.presence.there(now)


def dropped(devices, clients, seed, round):
    """Return bool[n]: which of the selected `clients` int64[n] are lost in a round."""
    chance = devices.dropout[clients]
    lost = np.zeros(len(clients), bool)
    for i in np.flatnonzero(chance).tolist():
        lost[i] = rng_for(seed, "dropout", round, int(clients[i])).random() < chance[i]
    return lost
