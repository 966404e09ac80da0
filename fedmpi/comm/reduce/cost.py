"""Cost model of this machine, measured once and then used to choose an algorithm.

This is the alpha-beta-gamma model (Thakur, Rabenseifner, Gropp 2005), with seconds per message,
per byte and per element. MPI's built-in collectives are measured as a whole, since the library
picks their algorithms.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import TypeAlias

import numpy as np
from mpi4py import MPI

from fedmpi.arrays import Octets
from fedmpi.comm.library import version_line
from fedmpi.comm.reduce.field import FLAT, Field
from fedmpi.comm.reduce.forecast import Forecast
from fedmpi.comm.reduce.link import Link
from fedmpi.comm.reduce.message import add, encode, support_bytes
from fedmpi.comm.reduce.packed import PackedField

Costs: TypeAlias = dict[str, dict[str, float]]
"""Content of a cache file: the fields of a Cost, keyed by host, MPI library and rank count."""


@dataclass(frozen=True)
class Cost:
    """Seconds: per message, per byte sent, per byte gathered or reduced, per element."""

    alpha: float  # one exchange of short messages with another rank
    beta: float  # per byte of a long exchange
    gather: float  # per byte of an Allgatherv, of all ranks together
    start: float  # one short Allreduce
    sum: float  # per byte of a long Allreduce
    emit: float  # per coordinate put in a list
    add: float  # per coordinate added from a list
    scan: float  # per unit of marks read

    def allreduce(self, size: float) -> float:
        """Return the modelled time of an Allreduce of `size` bytes."""
        return self.start + size * self.sum

    def bytes(self, plan: Forecast, coordinates: float, among: float) -> float:
        """Return the bytes of messages with `coordinates` touched of a range of `among`."""
        per = plan.per_value + plan.per_weight * plan.flat
        units = coordinates * plan.units_each
        return coordinates * per + support_bytes(units, among * plan.units_each)


def measure(link: Link) -> Cost:
    """Measure this communicator, collectively, and return the same Cost on all ranks."""
    long = 1 << 20
    times = (
        _best(link, lambda: _ring(link, 64), 25),
        _best(link, lambda: _ring(link, long)) / long,
        _best(link, lambda: link.allgather(_message(link, long))) / (long * link.size),
        _best(link, lambda: link.allreduce(np.zeros(1, np.int64)), 25),
        _best(link, lambda: link.allreduce(np.zeros(long // 8, np.int64))) / long,
        *_kernels(link),
    )
    slowest = np.array(times)
    link.comm.Allreduce(MPI.IN_PLACE, slowest, op=MPI.MAX)
    return Cost(*slowest.tolist())


def calibrate(link: Link, path: Path | None) -> Cost:
    """Return the Cost of this machine from the JSON file `path`, or measure it.

    Entries of the file are keyed by host, MPI library and number of ranks. A new measurement is
    added to the file.
    """
    library = version_line(MPI.Get_library_version())
    key = f"{MPI.Get_processor_name()}, {library}, {link.size} ranks"
    values = np.full(len(fields(Cost)), np.nan)
    known = _read(path) if path and link.rank == 0 else {}
    if key in known:
        values[:] = [known[key][field.name] for field in fields(Cost)]
    link.comm.Bcast(values, root=0)
    if not np.isnan(values).any():
        return Cost(*values.tolist())
    cost = measure(link)
    if path and link.rank == 0:
        _write(path, known | {key: asdict(cost)})
    return cost


def _read(path: Path) -> Costs:
    """Return the valid entries of a cache file, {key: {name: seconds}}."""
    try:
        found = json.loads(Path(path).read_text())
    except (OSError, ValueError, RecursionError):
        return {}  # nothing has been measured yet, or a crash truncated the file
    entries = found.items() if isinstance(found, dict) else ()
    return {key: values for key, values in entries if _is_cost(values)}


def _is_cost(values: object) -> bool:
    names = {field.name for field in fields(Cost)}
    return isinstance(values, dict) and values.keys() == names and all(
        type(value) is float and 0 <= value < np.inf for value in values.values()
    )


def _write(path: Path, known: Costs) -> None:
    """Write the costs to a file; failing to do so only costs time at the next start."""
    part = Path(f"{path}.{os.getpid()}")
    with suppress(OSError):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known, indent=1))
        part.replace(path)


def _best(link: Link, step: Callable[[], object], repeats: int = 5) -> float:
    """Return the shortest time in seconds of `repeats` runs of `step`, begun by all ranks at once.

    One more run before them is not timed.
    """
    step()
    best = float("inf")
    for _ in range(repeats):
        link.comm.Barrier()
        start = perf_counter()
        step()
        best = min(best, perf_counter() - start)
    return best


def _message(link: Link, size: int) -> Octets:
    message = link.take("encoded", size)
    message[:8].view(np.int64)[0] = size
    return message


def _ring(link: Link, size: int) -> None:
    link.swap(_message(link, size), (link.rank + 1) % link.size, (link.rank - 1) % link.size)


def _kernels(link: Link) -> tuple[float, float, float]:
    """Return (seconds to emit a coordinate, to add a coordinate, to scan a mark)."""
    size, some = 1 << 18, 1 << 14  # numbers of coordinates, and of touched coordinates
    touched = np.zeros(size, np.uint8)
    bare = Field(np.zeros(size, np.int64), np.zeros(0, np.int64), touched, FLAT)
    field = PackedField.of(bare, link)
    scan = _best(link, lambda: encode(link, field, 0, size))
    touched[:: size // some] = 1
    field = PackedField.of(bare, link)
    emitting = _best(link, lambda: encode(link, field, 0, size))
    message = encode(link, field, 0, size).copy()
    adding = _best(link, lambda: add(link, field, message))
    return max(emitting - scan, 0) / some, adding / some, scan / size
