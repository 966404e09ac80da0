"""Fairness by participation: clients that were asked less often than their share come first.

Huang, Lin, Lin, Liu and Zomaya, "An Efficiency-boosting Client Selection Scheme for Federated
Learning with Fairness Guarantee", TPDS 2021, arXiv:2011.08756 (RBCS-F): client k has a queue
z_k, which grows by a rate b each round and falls by 1 when the client is asked, never below 0.
The clients with the largest z_k - haste * t_k are asked, where t_k is the duration of a client's
round, so in the long run each client joins at a rate of at least b. Deviations: t_k comes from the
device's profile, divided by the mean over all clients, and is not learned by a bandit; the paper
counts the slowest client of the cohort, fedmpi each client; b is m / n if m of n clients begin, so
haste = 0 is round-robin in a drawn order.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from fedmpi.arrays import AnyArray, Integers
from fedmpi.section import Section
from fedmpi.selector import Selector, World
from fedmpi.selectors.drawing import largest


class Fair(Selector, name="fair"):
    """Asks the clients that have waited longest, fast clients a little sooner."""

    class Keys(Section):
        """The keys of fair."""

        haste: float = Field(0.0, ge=0, allow_inf_nan=False)  # weight of the duration of a round

    def __init__(self, keys: Any, seed: int, clients: int) -> None:
        super().__init__(keys, seed, clients)
        self._queue = np.zeros(clients, np.float32)

    def select(self, round: int, world: World, number: int, in_turn: bool) -> Integers:
        """Return the clients with the highest scores, ties in a drawn order."""
        able = self.rng_for(round).permutation(np.flatnonzero(world.sizes))
        score = self._queue[able].astype(np.float64)
        score -= self.keys.haste * world.seconds[able] / world.seconds.mean()
        return able[largest(score, number)]

    def begun(self, clients: Integers) -> None:
        """Raise the queues of all clients, and lower those of `clients`."""
        self._queue += np.float32(len(clients) / self.clients)
        self._queue[clients] -= 1
        np.maximum(self._queue, 0, out=self._queue)

    def arrays(self) -> dict[str, AnyArray]:
        """Return the queues."""
        return {"queue": self._queue}

    def restore(self, arrays: Mapping[str, AnyArray]) -> None:
        """Restore the queues."""
        self._queue = arrays["queue"].copy()
