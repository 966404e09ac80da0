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

from fedmpi.arrays import AnyArray, Memory, Vector
from fedmpi.exchange import Coding, Job, Part, Parts
from fedmpi.section import Section
from fedmpi.stage import Stage

LEVELS = {8: 127, 4: 7}


class Quantise(Stage, name="quantise"):
    """Rounds changes to 8 or 4 bits."""

    resizes = True

    class Keys(Section):
        """The keys of a quantise stage."""

        bits: Literal[8, 4] = 8
        feedback: bool = False  # keep the rounding error for the next change

    def client(self, job: Job, parts: Parts, memory: Memory) -> tuple[Parts, Memory]:
        """Round every part but bits."""
        rng = self.rng_for(job.round, job.client)
        coded: dict[str, Part] = {}
        kept: dict[str, AnyArray] = {**memory} if self.keys.feedback else {}
        for name, part in parts.items():
            if part.bits:
                coded[name] = part
                continue
            change = part.values + memory[name] if name in memory else part.values
            mask = part.support.mask()
            change = np.where(mask, change, np.float32(0))
            if not np.isfinite(change).all():
                coded[name] = part
                continue
            scales = self._scales(change)
            steps = np.repeat(scales, np.diff(self.layout.starts("tensor")))
            ratio = np.divide(change, steps, out=np.zeros_like(change), where=steps > 0)
            low = np.floor(ratio)
            codes = low + (rng.random(change.size, np.float32) < ratio - low)
            top = np.float32(LEVELS[self.keys.bits])
            sent = np.clip(codes, -top, top).astype(np.float32) * steps
            coding = Coding(f"int{self.keys.bits}", scales)
            coded[name] = part._replace(values=sent, coding=coding)
            if self.keys.feedback:
                kept[name] = np.where(mask, change - sent, memory.get(name, np.float32(0)))
        return coded, kept

    def _scales(self, change: Vector) -> Vector:
        """Return float32[T]: the size of a step in each tensor."""
        starts = self.layout.starts("tensor")[:-1]
        largest = np.maximum.reduceat(np.abs(change), starts)
        return (largest / np.float32(LEVELS[self.keys.bits])).astype(np.float32)
