"""The random numbers of a client's training: those that modules draw, and those of masks."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np

from fedmpi.arrays import Vector
from fedmpi.rng import rng_for


class Draws:
    """A seed of torch's generator for each pass of one client in one round.

    So what a module draws depends on the run's seed, the round, the client and the number of the
    pass (one for each step, and for each gradient that is measured), and on nothing else.
    """

    def __init__(self, seed: int, round: int, client: int) -> None:
        self._rng, self._of = rng_for(seed, "dropout", round, client), (seed, round, client)

    @cached_property
    def _masks(self) -> np.random.Generator:
        seed, round, client = self._of
        return rng_for(seed, "scores", round, client)

    def numbers(self, size: int) -> Vector:
        """Return the next float32[size], in [0, 1): the numbers of one step's mask."""
        return self._masks.random(size, np.float32)

    @contextmanager
    def next_pass(self) -> Iterator[None]:
        """Seed torch's generator while this block runs; after it, it is as before."""
        import torch  # only here: engines without torch name a client's draws, and take none

        generator = torch.default_generator
        before = generator.get_state()
        generator.manual_seed(int(self._rng.integers(2**63)))
        try:
            yield
        finally:
            generator.set_state(before)
