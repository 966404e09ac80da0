"""Clipping: bound the L2 norm of a client's change.

McMahan, Ramage, Talwar and Zhang, "Learning Differentially Private Recurrent Language Models",
ICLR 2018, arXiv:1710.06963, algorithm 1: the change is scaled by min(1, norm / |change|), all
layers together. Running statistics are neither counted nor scaled.
"""

import numpy as np
from pydantic import Field

from fedmpi.arrays import Memory
from fedmpi.exchange import Job, Parts
from fedmpi.section import Section
from fedmpi.stage import Stage


class Clip(Stage, name="clip"):
    """Bounds the norm of every client's change."""

    scales = True

    class Keys(Section):
        """The keys of a clip stage."""

        norm: float = Field(1.0, gt=0, allow_inf_nan=False)  # the largest L2 norm of a change

    def norm_after(self, before: float) -> float:
        """Return the smaller of `before` and the key `norm`."""
        return min(before, float(self.keys.norm))

    def client(self, job: Job, parts: Parts, memory: Memory) -> tuple[Parts, Memory]:
        """Scale the change of the weights down if its norm is above `norm`."""
        part, trained = parts["weights"], self.layout.trained
        change = part.values.copy()
        norm = np.sqrt(np.square(change[trained], dtype=np.float64).sum())
        if norm > self.keys.norm:
            change[trained] *= np.float32(self.keys.norm / norm)
        return {**parts, "weights": part._replace(values=change)}, memory
