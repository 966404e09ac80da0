"""The random numbers of a client's training, drawn by modules and for masks."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from fedmpi.arrays import Vector
from fedmpi.rng import rng_for


class Draws:
    """Seeds of torch's generator, one for each pass of one client in one round.

    So the numbers that a module draws depend only on the run's seed, the round, the client and the
    number of the pass (one for each step, and for each gradient that is measured). The second pass
    that a plan's `dense_norm` adds to a step draws the same numbers as the first. `purpose` is that
    of `rng_for`; passes outside of training have another.
    """

    def __init__(self, seed: int, round: int, client: int, purpose: str = "dropout") -> None:
        self._rng, self._of = rng_for(seed, purpose, round, client), (seed, round, client)

    @cached_property
    def _masks(self) -> np.random.Generator:
        seed, round, client = self._of
        return rng_for(seed, "scores", round, client)

    def numbers(self, size: int) -> Vector:
        """Return the next float32[size] in [0, 1), the random numbers of one step's mask."""
        return self._masks.random(size, np.float32)

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Let the passes in this block draw the same numbers as the passes after it."""
        state = self._rng.bit_generator.state
        yield
        self._rng.bit_generator.state = state

    @contextmanager
    def next_pass(self, device: str = "cpu") -> Iterator[None]:
        """Seed torch's generators for this block, and restore them afterwards.

        These are the generators of the processor and of the `device` on which the pass runs.
        """
        seed = int(self._rng.integers(2**63))
        with kept_generators(device) as generators:
            for generator in generators:
                generator.manual_seed(seed)
            yield


@contextmanager
def kept_generators(device: str = "cpu") -> Iterator[list[Any]]:
    """Yield torch's generators of the processor and of `device`; restore them after the block.

    `device` is a torch device name, "cpu" or "cuda:0" and so on. A GPU must be in use already.
    """
    import torch  # imported here because engines without torch create Draws but never use them

    generators = [torch.default_generator]
    if device != "cpu":
        generators.append(torch.cuda.default_generators[torch.device(device).index or 0])
    before = [generator.get_state() for generator in generators]
    try:
        yield generators
    finally:
        for generator, state in zip(generators, before, strict=True):
            generator.set_state(state)
