"""Read tables that users provide as CSV files."""

import csv
import io
from collections.abc import Iterator, Sequence

from fedmpi.errors import ConfigError


def csv_lines(text: str, place: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (where, cells) of the first line of CSV `text`, then of each line that is not blank.

    `where` names the file, given as `place`, and the line. Raises ConfigError if `text` is not CSV.
    """
    # Spreadsheets put a byte order mark before the first name.
    lines = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        first = [cell.strip() for cell in next(lines, [])]
        if len(first) == 1 and (";" in first[0] or "\t" in first[0]):
            raise ConfigError(f"{place}: line 1: has no comma; separate columns by commas, and "
                              "write numbers with a point, such as 0.5")
        yield f"{place}: line 1", first
        for cells in lines:
            if any(cell.strip() for cell in cells):
                yield f"{place}: line {lines.line_num}", cells
    except csv.Error as error:
        raise ConfigError(f"{place}: line {lines.line_num}: not CSV: {error}") from None


def lines_below(
    heads: Sequence[str], text: str, place: str
) -> Iterator[tuple[str, list[str]]]:
    """Yield the lines of `csv_lines` after the first, which must consist of `heads`."""
    lines = csv_lines(text, place)
    where, first = next(lines)
    if tuple(first) != tuple(heads):
        raise ConfigError(f"{where}: must be {','.join(heads)}")
    yield from lines


def check_clients(found: Sequence[float], place: str) -> None:
    """Raise ConfigError unless the clients `found`, different and sorted, are 0, 1, 2, ..."""
    for number, client in enumerate(found):
        if client != number:
            raise ConfigError(f"{place}: has a client {client:.15g} and no client {number}; number "
                              "the clients 0, 1, 2, ... without a gap")
