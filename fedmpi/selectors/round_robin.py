"""Round-robin selection: clients take turns in the order of their ids."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedmpi.arrays import AnyArray, Integers
from fedmpi.selector import Selector, World


class RoundRobin(Selector, name="round-robin"):
    """Asks the clients after the last client that began; absent clients miss their turn."""

    def __init__(self, keys: Any, seed: int, clients: int) -> None:
        super().__init__(keys, seed, clients)
        self._next = 0  # the client whose turn it is

    def select(self, round: int, world: World, number: int, in_turn: bool) -> Integers:
        """Return the next `number` of the clients that can be asked."""
        able = len(world.able)
        everyone = isinstance(world.able, range)
        first = self._next if everyone else np.searchsorted(world.able, self._next)
        return world.ids((first + np.arange(min(number, able))) % max(able, 1))

    def begun(self, clients: Integers) -> None:
        """Set the next turn to the client after the last client that began."""
        if clients.size:
            self._next = int(clients[-1] + 1) % self.clients

    def arrays(self) -> dict[str, AnyArray]:
        """Return the client whose turn it is."""
        return {"next": np.array(self._next)}

    def restore(self, arrays: Mapping[str, AnyArray]) -> None:
        """Restore the client whose turn it is."""
        self._next = arrays["next"].item()
