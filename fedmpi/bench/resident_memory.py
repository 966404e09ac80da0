"""Check that a rank's memory grows neither with the rounds nor with the size of the cohort."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedmpi.bench.measure import Bar, Found
from fedmpi.bench.processes import Launch

if TYPE_CHECKING:
    from fedmpi.bench.round_loop import Size

# Rounds of one step on small images, so that hundreds take only seconds.
TINY = ("data.name=patterns", "data.side=8", "clients.local_steps=1", "clients.batch_size=4")
MEGA = 1e6


def measure(launch: Launch, folder: Path, size: "Size") -> Found:
    """Return the resident bytes of rank 0, as a dict for JSON.

    It holds "ranks", their number in the runs; "rounds", the bytes after each of many rounds; and
    "cohorts", the bytes at the end of a run by the number of clients in a round.
    """
    ranks = size.ranks[-1] if launch.can(size.ranks[-1]) else 1
    rounds = _run(launch, folder, ranks, 2 * max(size.cohorts), size.cohorts[0], size.tiny_rounds)
    cohorts = {
        number: _run(launch, folder, ranks, 2 * max(size.cohorts), number, 6)[-2]
        for number in size.cohorts
    }
    return {"ranks": ranks, "rounds": rounds, "cohorts": cohorts}


def _run(
    launch: Launch, folder: Path, ranks: int, clients: int, per_round: int, rounds: int
) -> list[int]:
    """Return the memory of one run, after each of its rounds."""
    sizes = {"number": clients, "per_round": per_round}
    sets = [*TINY, f"run.rounds={rounds}", f"data.images={8 * clients}"]
    sets += [f"clients.{name}={value}" for name, value in sizes.items()]
    words = [f"--set={one}" for one in sets]
    found = launch.fedmpi(["bench", "run", folder / "bench.toml", *words], ranks)
    return list(found["memory"])


def bars(held: Found) -> list[Bar]:
    """Return the Bars on memory."""
    rounds = np.array(held["rounds"], np.float64)
    tenth = max(1, len(rounds) // 10)
    # The first tenth fills buffers, and the last round evaluates.
    grown = rounds[-tenth - 1 : -1].mean() - rounds[tenth : 2 * tenth].mean()
    least, *_, most = held["cohorts"].values()
    return [
        Bar(f"memory of a rank: MB more after {len(rounds)} rounds", grown / MEGA, 2.0, False),
        Bar("memory of a rank: MB more for the largest cohort", (most - least) / MEGA, 5.0, False),
    ]
