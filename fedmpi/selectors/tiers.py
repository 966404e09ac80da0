"""Tiers of similarly fast clients: each round asks the clients of a single tier.

Chai, Ali, Zawad, Truex, Anwar, Baracaldo, Zhou, Ludwig, Yan and Cheng, "TiFL: A Tier-based
Federated Learning System", HPDC 2020, arXiv:2001.09249: clients are sorted into tiers by the time
that they need, so that no client of a round waits for a much slower client. A tier is drawn with a
chance that is higher where the model is worse, then its clients with equal chances. Deviations:
times are those of the devices' profile, where TiFL measures some rounds. A tier's chance is
proportional to the mean training loss of its clients' last rounds, where TiFL ranks test
accuracies; a tier without losses takes the largest loss of the other tiers. There are no credits,
so a slow tier may be drawn at any time. If a tier has too few clients, clients of the next slower
tiers and then of the faster tiers are added.
"""

from typing import Any

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.section import Positive, Section
from fedmpi.selector import World
from fedmpi.selectors.last_losses import LastLosses


class Tiers(LastLosses, name="tiers"):
    """Asks clients of a single tier."""

    class Keys(Section):
        """The keys of tiers."""

        tiers: Positive = 5  # number of tiers, of equal sizes up to rounding

    def __init__(self, keys: Any, seed: int, clients: int) -> None:
        super().__init__(keys, seed, clients)
        self._by_speed: Integers | None = None  # clients by `world.seconds`, fixed for the run

    def select(self, round: int, world: World, number: int, in_turn: bool) -> Integers:
        """Draw a tier, then clients of this tier."""
        rng, able = self.rng_for(round), world.sizes > 0
        if self._by_speed is None:
            self._by_speed = np.argsort(world.seconds, kind="stable")
        groups = np.array_split(self._by_speed, self.keys.tiers)
        tiers = [tier for tier in groups if able[tier].any()]
        if not tiers:
            return np.zeros(0, np.int64)
        losses = [self._mean(tier) for tier in tiers]
        known = [loss for loss in losses if loss is not None]
        chances = np.array([max(known, default=1.0) if x is None else x for x in losses])
        chances = np.maximum(chances, 1e-12)
        first = int(rng.choice(len(tiers), p=chances / chances.sum()))
        drawn = [rng.permutation(tier[able[tier]]) for tier in tiers]
        return np.concatenate(drawn[first:] + drawn[:first][::-1])[:number]

    def _mean(self, tier: Integers) -> float | None:
        """Return the mean loss of a tier's clients, or None if none has a loss."""
        losses = self.loss[tier].astype(np.float64)
        losses = losses[np.isfinite(losses)]
        return float(losses.mean()) if losses.size else None
