"""Oort: clients that are useful to the model and fast, and some that were never asked before.

Lai, Zhu, Madhyastha and Chowdhury, "Oort: Efficient Federated Learning via Guided Participant
Selection", OSDI 2021, arXiv:2010.06081, algorithm 1, with the constants of its published code.
A client's statistical utility is |B| sqrt(mean of loss^2) over its samples, cut at the 95 %
quantile and scaled to [0, 1], plus sqrt(0.1 ln(r) / last) for the rounds since it was asked; it is
multiplied by (T / t)^alpha if its round takes t > T seconds. A share of the cohort (0.9, times 0.98
each round, at least 0.2) are clients never asked before, drawn with preference for fast ones. The
others are drawn in proportion to utility, among the clients with at least 95 % of the m-th highest.
T is a percentile of the known clients' seconds, the 30th at first; 5 is added whenever 20 rounds
brought less utility than the 20 before. Deviations: only the mean loss of a client is known, and
stands for the root of its mean square; t comes from the device's profile; no client is excluded for
having joined too often.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from fedmpi.arrays import AnyArray, Integers, Reals
from fedmpi.section import Positive, Section, Share
from fedmpi.selector import Selector, World
from fedmpi.selectors.drawing import draw

CUT, PACE = 0.95, 5.0  # quantile of utilities and share of the cut-off; percentage points


class Oort(Selector, name="oort"):
    """Asks useful and fast clients, and some that it does not know yet."""

    learns = True

    class Keys(Section):
        """The keys of oort."""

        explore: Share = 0.9  # share of new clients in the first round
        decay: Share = 0.98  # factor on `explore` each round
        least: Share = 0.2  # least value of `explore`
        alpha: float = Field(2.0, ge=0, le=10)  # penalty of slow clients
        percentile: float = Field(30.0, ge=0, le=100)  # seconds above this percentile are slow
        window: Positive = 20  # rounds between changes of the percentile

    def __init__(self, keys: Any, seed: int, clients: int) -> None:
        super().__init__(keys, seed, clients)
        self._value, self._last = np.zeros(clients, np.float32), np.zeros(clients, np.int32)
        # Utility of this window and of the last; rounds in this window; the percentile.
        self._pacer = np.array([0.0, 0.0, 0.0, keys.percentile])

    def select(self, round: int, world: World, number: int, in_turn: bool) -> Integers:
        """Draw new clients by their speed, and known clients by their utility."""
        keys, rng, able = self.keys, self.rng_for(round), np.flatnonzero(world.sizes)
        known, new = able[self._last[able] > 0], able[self._last[able] == 0]
        wanted = int(np.rint(max(keys.least, keys.explore * keys.decay**round) * number))
        wanted = min(max(wanted, number - known.size), new.size)
        found: Integers = new[draw(rng, 1.0 / world.seconds[new], wanted)]
        most = min(number - wanted, known.size)
        if not most:
            return found
        utility = self._utility(known, round, world.seconds)
        pool = utility >= CUT * np.partition(utility, -most)[-most]
        chances = np.maximum(utility[pool], 1e-12)
        chosen = np.concatenate((known[pool][draw(rng, chances, most)], found))
        return rng.permutation(chosen) if in_turn else chosen

    def _utility(self, known: Integers, round: int, seconds: Reals) -> Reals:
        """Return float64[n]: the utility of `known` int64[n], above 0."""
        value = self._value[known].astype(np.float64)
        value = np.minimum(value, np.quantile(value, CUT))
        spread = value.max() - value.min()
        value = (value - value.min()) / spread if spread > 0 else np.ones(known.size)
        value += np.sqrt(0.1 * np.log(round + 1) / self._last[known])
        limit, alpha = np.percentile(seconds[known], self._pacer[3]), float(self.keys.alpha)
        utility: Reals = value * np.minimum(limit / seconds[known], 1.0) ** alpha
        return utility

    def learn(self, rows: AnyArray) -> None:
        """Store utilities and rounds of reports; if utility falls, admit slower clients."""
        rows = rows[np.isfinite(rows["train_loss"])]
        value = rows["samples"] * rows["train_loss"]
        self._value[rows["client"]] = np.minimum(value, np.finfo(np.float32).max)
        self._last[rows["client"]] = rows["round"] + 1
        self._pacer[0] += value.sum()
        self._pacer[2] += 1
        if self._pacer[2] == self.keys.window:
            now, before, _, percentile = self._pacer
            self._pacer[:] = 0.0, now, 0.0, min(100.0, percentile + PACE * (now < before))

    def arrays(self) -> dict[str, AnyArray]:
        """Return the utilities, the last rounds, and the pacer."""
        return {"value": self._value, "last": self._last, "pacer": self._pacer}

    def restore(self, arrays: Mapping[str, AnyArray]) -> None:
        """Restore the utilities, the last rounds, and the pacer."""
        self._value, self._last, self._pacer = (
            arrays[name].copy() for name in ("value", "last", "pacer")
        )
