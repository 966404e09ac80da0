"""The Bars of the sums over ranks, judged by the rows of collectives.py."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fedmpi.bench.measure import Bar

if TYPE_CHECKING:
    from fedmpi.bench.collectives import Row

_Case: TypeAlias = tuple[int, float, str]
BAR_SIZE, BAR_RANKS = 4_000_000, (2, 4)
ON_A_NODE = {0.001: 20.0, 0.01: 10.0, 0.1: 2.5}  # by density, over MPI's Allreduce of float32
BETWEEN_NODES = {0.001: 20.0, 0.01: 8.0, 0.1: 1.5}  # the same, at 10 Gbit/s


def bars(rows: "Sequence[Row]", ranks: int, count: int = 1) -> list[Bar]:
    """Return the Bars of `rows`, measured on `ranks` ranks and `count` nodes.

    Bars against MPI are judged only on 2 or 4 ranks, all on one node or each on its own node.
    """
    took = {(row.n, row.density, row.support, row.arm): row.seconds for row in rows}

    def ratio(density: float, one: str, other: str) -> float | None:
        mine, theirs = (took.get((BAR_SIZE, density, "independent", arm)) for arm in (one, other))
        return None if mine is None or theirs is None else mine / theirs

    note, promised = f"n = {BAR_SIZE}, {ranks} ranks on {count} nodes", BETWEEN_NODES
    if count == 1:
        note, promised = f"n = {BAR_SIZE}, {ranks} ranks of one node", ON_A_NODE
    judging = ranks in BAR_RANKS and count in (1, ranks)
    if not judging:
        note, took = f"judged on {BAR_RANKS} ranks, of one node or each on its own", {}
    found = [
        Bar(f"exact over MPI float32, density {d}", ratio(d, "mpi float32", "exact"), b, note=note)
        for d, b in promised.items()
    ]
    for d in (0.5, 1.0):
        for own, theirs in (("exact", "mpi float64"), ("fast", "mpi float32")):
            value = ratio(d, own, theirs)
            found.append(Bar(f"{own} against {theirs}, density {d}", value, 1.1, False, note))
    fast = {_case(row): row.seconds for row in rows if row.arm == "fast"}
    slower = [row.seconds / fast[_case(row)] for row in rows if row.arm == "exact"]
    regret = [row.regret + 1 for row in rows if row.arm == "exact"]
    found.append(Bar("auto against the best arm, median", _median(regret), 1.2, False))
    label = "flat auto against the best flat arm"
    found.append(Bar(f"{label}, median", _flat_regret(rows), 1.2, False))
    least = min(row.n for row in rows)  # where choosing costs most, compared with a sum
    mine = _flat_regret([row for row in rows if row.n == least])
    found.append(Bar(f"{label}, n = {least}, median", mine, 1.2, False))
    found.append(Bar("exact against fast, median", _median(slower), 1.5, False))
    return found


def _flat_regret(rows: "Sequence[Row]") -> float | None:
    """Return the median time of flat auto over that of the best single algorithm by messages."""
    best: dict[_Case, float] = {}
    auto: dict[_Case, float] = {}
    for row in rows:
        if row.arm == "flat auto":
            auto[_case(row)] = row.seconds
        elif row.arm.startswith("flat "):
            best[_case(row)] = min(best.get(_case(row), row.seconds), row.seconds)
    return _median([auto[key] / best[key] for key in auto])


def _case(row: "Row") -> _Case:
    """Return the key of a row's case, which all its arms share."""
    return row.n, row.density, row.support


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
