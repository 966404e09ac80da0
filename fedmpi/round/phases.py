"""Where a rank's time goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from fedmpi.record.schema import PHASES


class Phases:
    """Measured seconds of each phase of one round: `with phases("train"): ...`."""

    def __init__(self, record: float = 0.0) -> None:
        """Begin with `record` seconds of that phase, which were spent on the round before."""
        self.seconds = dict.fromkeys(PHASES, 0.0) | {"record": record}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to phase `name`."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += perf_counter() - start
