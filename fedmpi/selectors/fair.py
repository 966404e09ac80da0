"""Fairness by participation: who was asked less often than its turn comes first.

Huang, Lin, Lin, Liu and Zomaya, "An Efficiency-boosting Client Selection Scheme for Federated
Learning with Fairness Guarantee", TPDS 2021, arXiv:2011.08756 (RBCS-F): client k has a queue
z_k, which grows by a rate b each round and falls by 1 when the client is asked, never below 0;
those with the largest z_k - haste * t_k are asked, t_k the seconds of its round, so that in the
long run each client joins at a rate of at least b. Deviations: t_k is what the device's profile
says, over the mean of all, and is not learned by a bandit; the paper counts the slowest of the
cohort, we count each client; b is m / n if m of n clients begin, so haste = 0 is round-robin in a
drawn order.
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

        haste: float = Field(0.0, ge=0, allow_inf_nan=False)  # how much a slow device counts

    def __init__(self, keys: Any, seed: int, clients: int) -> None:
        super().__init__(keys, seed, clients)
        self._queue = np.zeros(clients, np.float32)

    def select(self, round: int, world: World, number: int, in_turn: bool) -> Integers:
        """Take the clients with the highest scores; equal ones in a drawn order."""
        able = self.rng_for(round).permutation(np.flatnonzero(world.sizes))
        score = self._queue[able].astype(np.float64)
        score -= self.keys.haste * world.seconds[able] / world.seconds.mean()
        return able[largest(score, number)]

    def begun(self, clients: Integers) -> None:
        """Let the queues of all grow, and those of `clients` fall."""
        self._queue += np.float32(len(clients) / self.clients)
        self._queue[clients] -= 1
        np.maximum(self._queue, 0, out=self._queue)

    def arrays(self) -> dict[str, AnyArray]:
        """The queues."""
        return {"queue": self._queue}

    def take(self, arrays: Mapping[str, AnyArray]) -> None:
        """Go on with these queues."""
        self._queue = arrays["queue"].copy()
