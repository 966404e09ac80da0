"""Uniform selection: every client that can be asked has the same chance.

McMahan et al., AISTATS 2017, arXiv:1602.05629, algorithm 1: a random set, without replacement.
"""

from fedmpi.arrays import Integers
from fedmpi.selector import Selector, World


class Uniform(Selector, name="uniform"):
    """Draws clients with equal chances."""

    def select(self, round: int, world: World, number: int, in_turn: bool) -> Integers:
        """Draw `number` of the clients that can be asked."""
        able = len(world.able)
        number = min(number, able)
        return world.ids(self.rng_for(round).choice(able, number, replace=False, shuffle=in_turn))
