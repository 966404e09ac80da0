"""Measure the time that a rank spends in each phase of a round."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from fedmpi.record.schema import PHASES


class Phases:
    """Measured seconds of each phase of a round; use as `with phases("train"): ...`."""

    def __init__(self, record: float = 0.0) -> None:
        """Start with `record` seconds in the phase "record", spent on the previous round."""
        self.seconds = dict.fromkeys(PHASES, 0.0) | {"record": record}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the seconds that the block takes to phase `name`."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += perf_counter() - start
