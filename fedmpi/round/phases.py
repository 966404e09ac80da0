"""Where a rank's time goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from fedmpi.record.schema import PHASES


class Phases:
    """Measured seconds of each phase of one round: `with phases("train"): ...`."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to phase `name`."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += perf_counter() - start
