"""Series of numbers over virtual time; each number holds from its second until the next."""

from itertools import pairwise

import numpy as np

from fedmpi.arrays import Integers, Reals
from fedmpi.errors import ConfigError
from fedmpi.world.csv_lines import check_clients, lines_below
from fedmpi.world.recorded import last_before

LINKS = ("client", "second", "up_mbit_s", "down_mbit_s")
CARBON = ("second", "g_per_kwh")
LIMITS = {
    "client": (0, 1e9),
    "second": (0, 1e12),
    "up_mbit_s": (1e-6, 1e15),
    "down_mbit_s": (1e-6, 1e15),
    "g_per_kwh": (0, 1e9),
}
"""The smallest and the largest number allowed in each column, as in fedmpi.simulated."""
Rows = tuple[tuple[float, ...], ...]


def series_in(text: str, place: str, heads: tuple[str, ...]) -> Rows:
    """Return the lines of CSV `text` below the line of `heads` as sorted rows of numbers.

    Raises ConfigError with the file, and the line if known, if a number is outside LIMITS, if a
    column of clients is not 0, 1, 2, ... without a gap, or if a second appears twice.
    """
    lines = lines_below(heads, text, place)
    rows = sorted(_row(cells, heads, where) for where, cells in lines)
    if not rows:
        raise ConfigError(f"{place}: has no line below the names")
    if heads[0] == "client":
        check_clients(sorted({row[0] for row in rows}), place)
    named = heads.index("second") + 1
    for before, row in pairwise(rows):
        if before[:named] == row[:named]:
            which = ", ".join(f"{head} {value:g}" for head, value in zip(heads, row[:named]))
            raise ConfigError(f"{place}: {which} appears twice; remove a line")
    return tuple(rows)


def _row(cells: list[str], heads: tuple[str, ...], where: str) -> tuple[float, ...]:
    """Return the numbers of one line."""
    try:
        row = tuple(float(cell) for cell in cells)
    except ValueError:
        raise ConfigError(f"{where}: must be {len(heads)} numbers") from None
    if len(row) != len(heads):
        raise ConfigError(f"{where}: must be {len(heads)} numbers")
    for head, value in zip(heads, row, strict=True):
        low, high = LIMITS[head]
        if not low <= value <= high:
            raise ConfigError(f"{where}: {head} = {value:g}: must be from {low:g} to {high:g}")
    return row


class Links:
    """Link rates over time; client k has those of client k modulo n in a file with n clients."""

    def __init__(self, rows: Rows) -> None:
        self._table = np.array(rows, np.float64)
        _, first = np.unique(self._table[:, 0], return_index=True)
        self._first = np.append(first, len(self._table))

    def at(self, now: float, clients: Integers) -> tuple[Reals, Reals]:
        """Return (up, down) of `clients` int64[n] at virtual second `now`, float64[n] in Mbit/s.

        The rates of a client's first line also hold before that line.
        """
        which = clients % (len(self._first) - 1)
        low, high = self._first[which], self._first[which + 1]
        line = last_before(self._table[:, 1], low, high, np.full(np.shape(clients), now))
        line = np.maximum(line, low)
        return self._table[line, 2], self._table[line, 3]


def value_at(rows: Rows, now: float) -> float:
    """Return the number that holds at virtual second `now`, from rows (second, number)."""
    seconds = [second for second, _ in rows]
    return rows[max(int(np.searchsorted(seconds, now, side="right")) - 1, 0)][1]
