"""A population of devices in a CSV file, one in each row below the row of column names."""

from typing import Any

from fedmpi.errors import ConfigError
from fedmpi.section import check
from fedmpi.simulated import Tier
from fedmpi.world.csv_lines import csv_lines

RATES = ("gflop_s", "up_mbit_s", "down_mbit_s", "latency_s")  # columns that every device has
NUMBERS = ("availability", "dropout", "memory_mb", "power_w", "idle_w", "joule_per_mb")
OPTIONAL = ("name", *NUMBERS)


def devices_in(text: str, place: str) -> tuple[Tier, ...]:
    """Return a Tier for each row of CSV `text`, all with the same share.

    Units are those of [[devices.tiers]]. An empty cell of an optional column counts as no value.
    `place` names the file in messages. Raises ConfigError with file, line, column and value.
    """
    lines = csv_lines(text, place)
    where, heads = next(lines)
    _check(heads, where)
    found = tuple(_device(heads, row, where) for where, row in lines)
    if not found:
        raise ConfigError(f"{place}: has no device; give one in each line below the names")
    return found


def _check(heads: list[str], where: str) -> None:
    """Raise ConfigError unless the first line names all needed columns, and each only once."""
    known = ", ".join((*RATES, *OPTIONAL))
    if missing := [name for name in RATES if name not in heads]:
        raise ConfigError(
            f"{where}: has no column {', '.join(missing)}; needed: {', '.join(RATES)}"
        )
    for head in heads:
        if head not in (*RATES, *OPTIONAL):
            raise ConfigError(f"{where}: column {head!r:.60} is unknown; known: {known}")
        if heads.count(head) > 1:
            raise ConfigError(f"{where}: column {head!r} appears twice; remove one")


def _device(heads: list[str], row: list[str], place: str) -> Tier:
    """Return the Tier of one row of cells in the columns `heads`."""
    if len(row) != len(heads):
        raise ConfigError(f"{place}: has {len(row)} cells, but line 1 names {len(heads)} columns")
    cells = dict(zip(heads, row, strict=True))
    name = cells.pop("name", "").strip() or place.rpartition(": ")[2]
    values: dict[str, Any] = {"name": name, "share": 1.0}
    for head, cell in cells.items():
        if cell.strip() or head in RATES:
            try:
                values[head] = float(cell)
            except ValueError:
                raise ConfigError(f"{place}: {head} = {cell!r:.60}: must be a number") from None
    found: Tier = check(Tier, values, place)
    return found
