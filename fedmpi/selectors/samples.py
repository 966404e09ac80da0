"""Selection by samples: a client is drawn with a probability proportional to its samples.

Li, Sahu, Zaheer, Sanjabi, Talwalkar and Smith, "Federated Optimization in Heterogeneous
Networks", MLSys 2020, arXiv:1812.06127: with `weighting = "uniform"` the scheme of its experiments.
Deviation: draws are without replacement, like all cohorts in fedmpi.
"""

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.selector import Selector, World
from fedmpi.selectors.drawing import draw


class BySamples(Selector, name="samples"):
    """Draws clients in proportion to their samples."""

    def select(self, round: int, world: World, number: int, in_turn: bool) -> Integers:
        """Draw `number` of the clients that can be asked."""
        able = world.ids(np.arange(len(world.able)))
        number, chances = min(number, able.size), world.sizes[able].astype(np.float64)
        if not number:
            return able
        return able[draw(self.rng_for(round), chances, number)]
