"""Round-robin selection: clients take turns in the order of their ids."""

import numpy as np

from fedmpi.selector import Selector


class RoundRobin(Selector, name="round-robin"):
    """Asks the clients after the last client that was asked; absent clients miss their turn."""

    def __init__(self, keys, seed, clients):
        super().__init__(keys, seed, clients)
        self._next = 0  # the client whose turn it is

    def select(self, round, world, number, in_turn):
        """Take the next `number` of the clients that can be asked."""
        able = len(world.able)
        everyone = isinstance(world.able, range)
        first = self._next if everyone else np.searchsorted(world.able, self._next)
        chosen = world.ids((first + np.arange(min(number, able))) % max(able, 1))
        if chosen.size:
            self._next = int(chosen[-1] + 1) % self.clients
        return chosen

    def arrays(self):
        """Whose turn it is."""
        return {"next": np.array(self._next)}

    def take(self, arrays):
        """Go on with that client."""
        self._next = int(arrays["next"])
