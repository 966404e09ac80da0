"""Power of choice: draw candidates, and ask the candidates with the largest losses.

Cho, Wang and Joshi, "Towards Understanding Biased Client Selection in Federated Learning",
AISTATS 2022, arXiv:2010.01243: d candidates are drawn in proportion to their samples, without
replacement, and the m with the largest local loss join. This is variant rpow-d of its section 5: a
client's loss is the training loss of its last report, which costs no message, and infinite before
its first report: clients that are always late come first. Here d = factor * m.
"""

import numpy as np
from pydantic import Field

from fedmpi.arrays import Integers
from fedmpi.section import Section
from fedmpi.selector import World
from fedmpi.selectors.drawing import draw, largest
from fedmpi.selectors.last_losses import LastLosses


class PowerOfChoice(LastLosses, name="power-of-choice"):
    """Asks the candidates with the largest losses."""

    class Keys(Section):
        """The keys of power-of-choice."""

        factor: float = Field(2.0, ge=1, le=1e6)  # candidates for each client that is asked

    def select(self, round: int, world: World, number: int, in_turn: bool) -> Integers:
        """Draw candidates, and return those of the largest loss, ties in the order drawn."""
        able = np.flatnonzero(world.sizes)
        count = int(np.ceil(self.keys.factor * number))
        chances = world.sizes[able].astype(np.float64)
        candidates = able[draw(self.rng_for(round), chances, count)]
        loss = np.nan_to_num(self.loss[candidates], nan=np.inf)
        return candidates[largest(loss, number)]
