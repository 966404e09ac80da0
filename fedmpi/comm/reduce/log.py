"""A log of messages, for the replay at scale (fedmpi/bench/replay.py)."""

from time import perf_counter

import numpy as np

from fedmpi.arrays import AnyArray

COLUMNS = np.dtype(
    [
        ("step", "<i8"),  # the same at both ends of a message; a rank has one row for each step
        ("source", "<i8"),
        ("target", "<i8"),  # -1 for a built-in collective, or if this rank only receives
        ("bytes", "<i8"),
        ("kind", "U12"),  # "pair", "allreduce", "allgather", or "done" at the end of a sum
        ("work", "<f8"),  # seconds that the source computed since its last message
    ]
)


class Log:
    """The messages that one rank sent."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, int, str, float]] = []
        self._since = perf_counter()

    def add(self, step: int, source: int, target: int, size: int, kind: str) -> None:
        """Add a message that is about to be sent."""
        self._rows.append((step, source, target, size, kind, perf_counter() - self._since))
        self._since = perf_counter()

    def resume(self) -> None:
        """Note that the rank has stopped waiting: the time from here on is work."""
        self._since = perf_counter()

    def rows(self) -> AnyArray:
        """Return the messages as an array of COLUMNS, in the order of sending."""
        return np.array(self._rows, COLUMNS)

    def clear(self) -> None:
        """Remove all messages."""
        self._rows.clear()
