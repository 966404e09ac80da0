"""A log of messages, for the replay at scale (fedmpi/bench/scale.py)."""

import numpy as np

COLUMNS = np.dtype(
    [("step", "<i8"), ("source", "<i8"), ("target", "<i8"), ("bytes", "<i8"), ("kind", "U12")]
)


class Log:
    """The messages that one rank sent; target -1 is a built-in collective."""

    def __init__(self):
        self._rows = []

    def add(self, step, source, target, size, kind):
        """Note one message."""
        self._rows.append((step, source, target, size, kind))

    def rows(self):
        """Return the messages as an array of COLUMNS, in the order of sending."""
        return np.array(self._rows, COLUMNS)

    def clear(self):
        """Forget all messages."""
        self._rows.clear()
