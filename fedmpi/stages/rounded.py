"""The base of stages that round every change to whole numbers of steps.

A tensor's step follows from its largest magnitude. With feedback = true the error stays with the
client and is added to the next change (Seide et al., Interspeech 2014). A part with a value that is
not finite is sent unchanged, so that the server can reject the client; so is a part of bits, which
take a bit each already.
"""

from abc import ABC, abstractmethod

import numpy as np

from fedmpi.arrays import AnyArray, Memory, Vector
from fedmpi.exchange import Coding, Job, Part, Parts
from fedmpi.stage import Stage


class Rounded(Stage, ABC):
    """Rounds changes; a subclass has the key `feedback`, and says how long a step is."""

    resizes = True

    def client(self, job: Job, parts: Parts, memory: Memory) -> tuple[Parts, Memory]:
        """Round every part but bits."""
        rng, starts = self.rng_for(job.round, job.client), self.layout.starts("tensor")
        coded: dict[str, Part] = {}
        kept: dict[str, AnyArray] = {**memory} if self.keys.feedback else {}
        for name, part in parts.items():
            held = part.support.mask() != 0
            change = part.values + memory[name] if name in memory else part.values
            change = np.where(held, change, np.float32(0))
            if part.bits or not np.isfinite(change).all():
                coded[name] = part
                continue
            scales = self._scales(np.maximum.reduceat(np.abs(change), starts[:-1]))
            steps = np.repeat(scales, np.diff(starts))
            ratio = np.divide(change, steps, out=np.zeros_like(change), where=steps > 0)
            numbers = self._whole(ratio, rng)
            sent = numbers.astype(np.float32) * steps
            coding = self._coding(numbers[held], scales)
            coded[name] = part._replace(values=sent, coding=coding)
            if self.keys.feedback:
                kept[name] = np.where(held, change - sent, memory.get(name, np.float32(0)))
        return coded, kept

    @abstractmethod
    def _scales(self, largest: Vector) -> Vector:
        """Return the steps of tensors with these largest magnitudes, float32[T] each."""

    @abstractmethod
    def _whole(self, ratio: Vector, rng: np.random.Generator) -> AnyArray:
        """Return the whole numbers [P] of steps to which float32[P] `ratio` is rounded."""

    @abstractmethod
    def _coding(self, numbers: AnyArray, scales: Vector) -> Coding:
        """Return the Coding of the whole numbers that are sent, with the steps float32[T]."""
