"""Power of choice: of some candidates, the clients with the largest losses are asked.

Cho, Wang and Joshi, "Towards Understanding Biased Client Selection in Federated Learning",
AISTATS 2022, arXiv:2010.01243: d candidates are drawn in proportion to their samples, without
replacement, and the m with the largest local loss join. Variant rpow-d of its section 5: a client's
loss is the training loss of its last round, which costs no message; a client that never took part
counts as infinite. Here d = factor * m.
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
        """Draw candidates, and take those of the largest loss; of equal ones the first drawn."""
        able = np.flatnonzero(world.sizes)
        count = int(np.ceil(self.keys.factor * number))
        chances = world.sizes[able].astype(np.float64)
        candidates = able[draw(self.rng_for(round), chances, count)]
        loss = np.nan_to_num(self.loss[candidates], nan=np.inf)
        return candidates[largest(loss, number)]
