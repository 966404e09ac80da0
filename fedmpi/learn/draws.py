"""The random numbers that modules draw while a client trains: those of dropout, say."""

from collections.abc import Iterator
from contextlib import contextmanager

from fedmpi.rng import rng_for


class Draws:
    """A seed of torch's generator for each pass of one client in one round.

    So what a module draws depends on the run's seed, the round, the client and the number of the
    pass (one for each step, and for each gradient that is measured), and on nothing else.
    """

    def __init__(self, seed: int, round: int, client: int) -> None:
        self._rng = rng_for(seed, "dropout", round, client)

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
