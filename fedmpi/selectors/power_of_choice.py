"""Power of choice: draw candidates, and ask the candidates with the largest losses.

Cho, Wang and Joshi, "Towards Understanding Biased Client Selection in Federated Learning",
AISTATS 2022, arXiv:2010.01243: d candidates are drawn in proportion to their samples, without
replacement, and the m with the largest local loss join. This is variant rpow-d of its section 5: a
client's loss is the training loss of its last report, which costs no message, and infinite before
it is asked. Here d = factor * m. The paper has no client that is asked and never reports: its loss
counts as the mean of the candidates' known losses, or clients that are always late would fill every
cohort.
"""

import numpy as np
from pydantic import Field

from fedmpi.arrays import AnyArray, Integers
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
        loss = self.loss[candidates].astype(np.float64)
        known = loss[np.isfinite(loss)]
        loss[np.isneginf(loss)] = known.mean() if known.size else 0.0
        return candidates[largest(np.where(np.isnan(loss), np.inf, loss), number)]

    def learn(self, rows: AnyArray) -> None:
        """Store the losses of clients that reported, and -inf for those that never did."""
        silent = rows["client"][np.isnan(self.loss[rows["client"]])]
        self.loss[silent] = -np.inf
        super().learn(rows)
