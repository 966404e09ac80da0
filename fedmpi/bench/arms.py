"""Time the arms of a benchmark: a kernel beside its peer and beside a copy of its bytes.

The floor of an arm is the time to read and write once the bytes that it cannot avoid, at the speed
of a copy of 4 million float32 that is timed in turn with the arm. torch is imported elsewhere; its
peers are passed in as callables.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from fedmpi.bench.measure import interleaved

SIZE = 4_000_000


@dataclass(frozen=True)
class Arm:
    """A call to time: `run` handles `elements` and must move `bytes`; `peer` does the same."""

    name: str
    elements: int
    bytes: float
    run: Callable[[], object]
    peer: Callable[[], object] | None = None


@dataclass(frozen=True)
class Row:
    """The time of an arm: nanoseconds for each element, and ratios within the run.

    `floor` is the arm's time over that of copying its bytes. `peer` is how many times faster the
    arm is than numpy or torch, None without a peer.
    """

    name: str
    ns: float
    gigabytes: float  # per second
    floor: float
    peer: float | None


def rows(arms: Iterable[Arm], repeats: int = 15) -> list[Row]:
    """Time the arms, each in turn with its peer and with a copy of float32[SIZE]."""
    source, target = np.ones((2, SIZE), np.float32)
    return [_row(arm, lambda: np.copyto(target, source), 8 * SIZE, repeats) for arm in arms]


def _row(arm: Arm, copy: Callable[[], object], copied: int, repeats: int) -> Row:
    """Return the Row of one arm; `copy` reads and writes `copied` bytes."""
    functions = {"own": arm.run, "copy": copy} | ({"peer": arm.peer} if arm.peer else {})
    best = {name: min(taken) for name, taken in interleaved(functions, repeats).items()}
    own = best["own"]
    return Row(
        name=arm.name,
        ns=1e9 * own / arm.elements,
        gigabytes=arm.bytes / own / 1e9,
        floor=own / (best["copy"] * arm.bytes / copied),
        peer=best["peer"] / own if arm.peer else None,
    )
