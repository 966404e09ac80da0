"""Runs one after another, each on the first ranks of a job, while its other ranks sleep.

A job of 32 ranks thus starts only once for all numbers of ranks.
"""

import time
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, cast

import numpy as np

from fedmpi.bench import live
from fedmpi.bench.all_ranks import of_all
from fedmpi.bench.measure import Found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedmpi.comm.mpi import Mpi, Raw
    from fedmpi.experiment.execute import Start
    from fedmpi.experiment.resolve import Resolved

PAUSE = 0.1  # seconds between two checks whether the other ranks are done
TURNS = 20


def measure(
    resolved: "Resolved", comm: "Mpi", counts: "Sequence[int]", start: "Start"
) -> Found | None:
    """Return {"runs": dicts of live.measure, each with "short_message"} on rank 0.

    "short_message" is the median time in seconds in which each rank sends 8 bytes to the next rank;
    0 on one rank. `counts` are numbers of ranks, each from 1 to the size of `comm`. Collective over
    `comm`, an Mpi; ranks other than 0 return None.
    """
    from fedmpi.comm.mpi import Mpi

    runs: list[Found] = []
    _sleep_until_all_come(comm)  # ranks load their programs until then
    for count in counts:
        inside = comm.rank < count
        part = cast("Raw", comm.raw.Split(int(inside)))
        if inside:
            ours = Mpi(part)
            seconds = short_message(ours.raw)
            found = live.measure(resolved, ours, replace(start, cache=None))
            ours.close()
            if found is not None:
                runs.append(found | {"short_message": seconds})
        part.Free()
        _sleep_until_all_come(comm)
    return {"runs": runs} if comm.rank == 0 else None


def short_message(raw: "Raw") -> float:
    """Return the median seconds of a short message between neighbours, on the slowest rank."""
    if raw.size == 1:
        return 0.0
    ends = (raw.rank + 1) % raw.size, (raw.rank - 1) % raw.size
    sent, got, taken = np.zeros(1), np.zeros(1), np.zeros(TURNS)
    for turn in range(TURNS):
        began = perf_counter()
        raw.Sendrecv(sent, ends[0], recvbuf=got, source=ends[1])
        taken[turn] = perf_counter() - began
    return float(of_all(raw, float(np.median(taken))).max())


def _sleep_until_all_come(comm: "Mpi") -> None:
    """Wait for all ranks of an Mpi without using a core that computing ranks need."""
    come = comm.raw.Ibarrier()
    while not come.Test():
        time.sleep(PAUSE)
