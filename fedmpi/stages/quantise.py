"""Quantisation: every value becomes an integer of 8 or 4 bits times the scale of its tensor.

Alistarh, Grubic, Li, Tomioka and Vojnovic, "QSGD: Communication-Efficient SGD via Gradient
Quantization and Encoding", NeurIPS 2017, arXiv:1610.02132: stochastic rounding, unbiased, here
to 2 * 127 (or 7) + 1 equal steps between minus and plus the largest magnitude of each tensor.
feedback = true keeps the error with the client and adds it to the next change (Seide et al.,
Interspeech 2014). Messages hold the integers and a float32 scale for each tensor. A part with
a value that is not finite is sent unchanged, so that the server can reject the client. So is a part
of bits, which take a bit each already.
"""

from typing import Literal

import numpy as np

from fedmpi.arrays import AnyArray, Vector
from fedmpi.exchange import Coding
from fedmpi.section import Section
from fedmpi.stages.rounded import Rounded

LEVELS = {8: 127, 4: 7}


class Quantise(Rounded, name="quantise"):
    """Rounds changes to 8 or 4 bits."""

    class Keys(Section):
        """The keys of a quantise stage."""

        bits: Literal[8, 4] = 8
        feedback: bool = False  # keep the rounding error for the next change

    def _scales(self, largest: Vector) -> Vector:
        return (largest / np.float32(LEVELS[self.keys.bits])).astype(np.float32)

    def _whole(self, ratio: Vector, rng: np.random.Generator) -> AnyArray:
        low, top = np.floor(ratio), np.float32(LEVELS[self.keys.bits])
        codes = low + (rng.random(ratio.size, np.float32) < ratio - low)
        found: AnyArray = np.clip(codes, -top, top)
        return found

    def _coding(self, numbers: AnyArray, scales: Vector) -> Coding:
        return Coding(f"int{self.keys.bits}", scales)
