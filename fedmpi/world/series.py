"""Numbers over virtual time: each holds from its second on, until the next."""

from itertools import pairwise

import numpy as np

from fedmpi.arrays import Integers, Reals
from fedmpi.errors import ConfigError
from fedmpi.world.csv_lines import lines_below
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
"""The least and the largest number of each column, as fedmpi.simulated has them."""
Rows = tuple[tuple[float, ...], ...]


def series_in(text: str, place: str, heads: tuple[str, ...]) -> Rows:
    """Return the lines of CSV `text` below the line of `heads`, as rows of numbers, sorted.

    Numbers are within LIMITS; clients, if there is a column of them, 0, 1, 2, ... without a gap;
    no second comes twice. Raises ConfigError with file and line.
    """
    lines = lines_below(heads, text, place)
    rows = sorted(_row(cells, heads, where) for where, cells in lines)
    if not rows:
        raise ConfigError(f"{place}: has no line below the names")
    if heads[0] == "client" and (found := sorted({row[0] for row in rows})) != [*range(len(found))]:
        raise ConfigError(f"{place}: clients must be 0, 1, 2, ... without a gap")
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
    """Rates of links over time: client k has those of the file's client k, modulo their number."""

    def __init__(self, rows: Rows) -> None:
        self._table = np.array(rows, np.float64)
        _, first = np.unique(self._table[:, 0], return_index=True)
        self._first = np.append(first, len(self._table))

    def at(self, now: float, clients: Integers) -> tuple[Reals, Reals]:
        """Return float64[n], twice: Mbit/s up and down of `clients` int64[n] at a virtual second.

        Before a client's first line they are those of that line.
        """
        which = clients % (len(self._first) - 1)
        low, high = self._first[which], self._first[which + 1]
        line = last_before(self._table[:, 1], low, high, np.full(np.shape(clients), now))
        line = np.maximum(line, low)
        return self._table[line, 2], self._table[line, 3]


def value_at(rows: Rows, now: float) -> float:
    """Return the number of rows (second, number) that holds at a virtual second."""
    seconds = [second for second, _ in rows]
    return rows[max(int(np.searchsorted(seconds, now, side="right")) - 1, 0)][1]
