"""Check the results of the collectives, and measure their latency and bandwidth."""

from collections.abc import Callable
from time import perf_counter
from typing import TypeAlias

import numpy as np

from fedmpi.comm.base import Comm
from fedmpi.doctor import NOTE, OK, WRONG, Finding

Call: TypeAlias = Callable[[Comm, int, int], bool]
"""Calls a collective of a Comm, given bytes a rank and a turn; returns whether it was right."""

SIZES = (8, 1 << 20)  # bytes a rank: for latency, and for bandwidth


def traffic(comm: Comm, seconds: float) -> list[Finding]:
    """Return a Finding for each collective of `comm`; all tests take about `seconds`. Collective.

    The result of each call is checked, since a broken MPI may give wrong results.
    """
    found = []
    for name, call in COLLECTIVES.items():
        small, large = (_tried(comm, call, size, seconds / len(COLLECTIVES) / len(SIZES))
                        for size in SIZES)
        if small is None or large is None:
            found.append(Finding(WRONG, name, "gave a wrong result",
                                 "use another MPI, or another transport of this MPI (see its "
                                 "manual)"))
            continue
        value = f"{small * 1e6:,.0f} us, {SIZES[1] / large / 1e6:,.0f} MB/s"
        if comm.size == 1:
            found.append(Finding(NOTE, name, value, "a single rank sends nothing: give --mpi N"))
        else:
            found.append(Finding(OK, name, value))
    return found


def _tried(comm: Comm, call: Call, size: int, seconds: float) -> float | None:
    """Return the median seconds of a call with `size` bytes, None if a result was wrong."""
    times: list[float] = []
    right = True
    end = perf_counter() + seconds
    going = True
    while going:
        comm.barrier()
        began = perf_counter()
        right &= call(comm, size, len(times))
        times.append(perf_counter() - began)
        # All ranks must go on, or none.
        going = bool(comm.share(perf_counter() < end))
    wrong = comm.sum_array(np.array([not right], np.int64))[0]
    return None if wrong else float(np.median(times))


def _sum(comm: Comm, size: int, turn: int) -> bool:
    array = np.full(size // 8, comm.rank + turn, np.int64)
    expected = comm.size * turn + comm.size * (comm.size - 1) // 2
    return bool((comm.sum_array(array) == expected).all())


def _gather(comm: Comm, size: int, turn: int) -> bool:
    rows = np.full((1, size), (comm.rank + turn) % 251, np.uint8)
    expected = (np.arange(comm.size) + turn) % 251
    return bool((comm.gather_rows(rows) == expected[:, None]).all())


def _exchange(comm: Comm, size: int, turn: int) -> bool:
    part = max(1, size // comm.size)
    boxes = [bytes([(comm.rank + other + turn) % 251]) * part for other in range(comm.size)]
    return comm.exchange(boxes) == boxes  # two ranks send each other the same bytes


def _share(comm: Comm, size: int, turn: int) -> bool:
    return bool(comm.share("x" * size if comm.rank == 0 else None) == "x" * size)


COLLECTIVES = {"sum": _sum, "gather": _gather, "exchange": _exchange, "broadcast": _share}
