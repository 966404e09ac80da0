"""Sums over all ranks, first inside each node and then between nodes; one result per node."""

from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
from mpi4py import MPI
from numpy.typing import DTypeLike

from fedmpi.arrays import AnyArray, Flags, Integers
from fedmpi.comm.reduce.auto import ALGORITHMS, NAMES, Choice, Record, combine
from fedmpi.comm.reduce.cost import Cost, calibrate
from fedmpi.comm.reduce.field import FLAT, Field
from fedmpi.comm.reduce.forecast import Weight
from fedmpi.comm.reduce.link import CHUNK, Link
from fedmpi.comm.reduce.log import Log
from fedmpi.comm.reduce.node import Slot
from fedmpi.errors import ConfigError

CHOICES = ("auto", *NAMES, *(f"node+{name}" for name in NAMES))


@dataclass(frozen=True, eq=False)
class Result:
    """A sum over all ranks, in read-only arrays that the ranks of a node may share.

    It is valid until this rank asks for the next sum of the same name, or writes to the arrays
    that it passed to this sum or got from `Reducer.row`.

    total : int64[n] or float32[n]
    cover : int64[U] or float32[U], empty if it was passed empty
    touched : uint8[U], 1 where any rank touched the unit
    weight : int64 or float64, the sum of the ranks' weights
    """

    total: AnyArray
    cover: AnyArray
    touched: Flags
    weight: Weight
    record: Record


class Reducer:
    """Add up vectors over the ranks of a communicator, with reused windows and workspaces.

    Every method is collective: all ranks must make the same calls in the same order, with the
    same names, sizes, units and dtypes.

    Attributes
    ----------
    algorithm : str
        The algorithm between nodes: "auto" or a name of ALGORITHMS. It may be changed between
        sums, if it is changed on all ranks.
    """

    def __init__(
        self, comm: MPI.Intracomm, algorithm: str = "auto", *, nodes: int | None = None,
        chunk: int = CHUNK, log: Log | None = None, cache: Path | None = None,
    ) -> None:
        """Set up the sums on a duplicate of `comm`, so that their messages meet no others.

        Parameters
        ----------
        comm : mpi4py communicator
        algorithm : str
            With "auto", sums use shared memory inside nodes and the cheapest algorithm between
            them. With a name of ALGORITHMS, that algorithm adds up over all ranks by messages
            only. With "node+" and a name, it is used between nodes, and shared memory inside.
        nodes : int, or None
            Number of this rank's node; if None, MPI tells which ranks share memory.
        chunk : int
            Longest piece handed to MPI, in bytes.
        log : Log, or None
        cache : path of a JSON file for the measured costs, or None
        """
        if algorithm not in CHOICES:
            raise ConfigError(
                f"collective.algorithm = {algorithm!r}: unknown\nallowed: {', '.join(CHOICES)}"
            )
        self._comm = comm.Dup()
        if algorithm in ALGORITHMS:
            nodes = comm.rank
        if nodes is None:
            self._node = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        else:
            self._node = self._comm.Split(nodes)
        lead = self._node.rank == 0
        leaders = self._comm.Split(0 if lead else MPI.UNDEFINED)
        self._link = Link(leaders, chunk, log) if lead else None
        count = np.array([lead], np.int64)
        self._comm.Allreduce(MPI.IN_PLACE, count)
        self._nodes = int(count[0])
        self.algorithm = algorithm.removeprefix("node+")
        self._cache = cache
        self._cost: Cost | None = None
        self._slots: dict[str, Slot] = {}
        self._choices: dict[str, Choice] = {}

    def row(
        self, name: str, size: int, starts: Integers = FLAT, *, dtype: DTypeLike = np.int64,
        cover: bool = True,
    ) -> Field | None:
        """Return this rank's row of the sum `name`, an empty Field in shared memory to add to.

        A contribution written into the row is summed without a copy. The result is None for a
        rank that is alone on its node, which needs no copy anyway.

        Parameters
        ----------
        size : int
        starts : int64[U+1], or FLAT if units are coordinates
        dtype : int64 or float32
        cover : bool, True for a weight per unit
        """
        if self._node.size == 1:
            return None
        row = self._slot(name, size, starts, dtype, cover).mine
        row.clear()
        return row

    def sum(
        self, total: AnyArray, cover: AnyArray, touched: Flags, starts: Integers = FLAT, *,
        weight: float = 0, name: str = "sum",
    ) -> Result:
        """Add up vectors over all ranks.

        Parameters
        ----------
        total : int64[n] or float32[n]
            This rank's part, zero where not touched. If the rank is alone on its node, these
            arrays are overwritten with the sum. Always read the sum from the result.
        cover : array of the sum's dtype [U], or empty
            The weight of each unit; empty if all units have the weight `weight`.
        touched : uint8[U]
            1 for each unit that this rank's part holds.
        starts : int64[U+1]
            Unit u is the block from starts[u] to starts[u+1].
        weight : number
            Total weight of the updates that this rank added. It is sent with the Forecast.
        name : str
            Sums with the same name are successive and share a workspace.

        Returns
        -------
        Result
        """
        began = perf_counter()
        starts = _flat(starts, total.size)
        mine: Weight = np.int64(weight) if total.dtype == np.int64 else np.float64(weight)
        field = Field(total, cover, touched, starts)
        if self._node.size == 1:
            return self._between(name, field, mine, None, began)
        slot = self._slot(name, total.size, starts, total.dtype, cover.size > 0)
        slot.reduce(field, mine)
        return self._between(name, slot.view(), slot.weight[0], slot, began)

    def close(self) -> None:
        """Free the shared memory and the communicators; no result may be read afterwards."""
        for slot in self._slots.values():
            slot.close()
        self._slots.clear()
        for comm in (self._link and self._link.comm, self._node, self._comm):
            if comm:
                comm.Free()

    def _slot(
        self, name: str, size: int, starts: Integers, dtype: DTypeLike, cover: bool
    ) -> Slot:
        """Return the slot `name`, and make a new one if the kind of its sums has changed."""
        starts, slot = _flat(starts, size), self._slots.get(name)
        kind = size, np.dtype(dtype), bool(cover)
        if slot is None or slot.kind != kind or not np.array_equal(slot.starts, starts):
            if slot is not None:
                self._slots.pop(name).close()  # the next one may find too little memory
            self._slots[name] = slot = Slot(self._node, size, starts, np.dtype(dtype), cover)
        return slot

    def _between(
        self, name: str, field: Field, weight: Weight, slot: Slot | None, began: float
    ) -> Result:
        """Add up the sums of the nodes, in place; return the Result."""
        if self._nodes == 1:
            touched = field.extent() if slot is None else slot.found.sum()
            record = Record("node", density=int(touched) / max(field.size, 1))
        elif self._link is not None:
            record, weight = self._by_messages(self._link, name, field, weight)
            if slot is not None:
                slot.weight[0] = weight
                slot.note[:] = NAMES.index(record.algorithm), record.density, record.regret
                slot.sync()
        elif slot is not None:  # a rank that is not first on its node reads what the first wrote
            slot.sync()
            number, density, regret = slot.note.tolist()
            record = Record(NAMES[int(number)], density=density, regret=regret)
            weight = slot.weight[0]
        record = replace(record, seconds=perf_counter() - began)
        total, cover, touched = map(_fixed, (field.total, field.cover, field.touched))
        return Result(total, cover, touched, weight, record)

    def _by_messages(
        self, link: Link, name: str, field: Field, weight: Weight
    ) -> tuple[Record, Weight]:
        """Add up the sums of the nodes between their first ranks, in place."""
        if self.algorithm == "auto" and self._cost is None:
            self._cost = calibrate(link, self._cache)
        choice = self._choices.setdefault(name, Choice())
        return combine(link, field, weight, self.algorithm, self._cost, choice)


def _flat(starts: Integers, size: int) -> Integers:
    """Return `starts`, or FLAT if each of the `size` coordinates is a unit."""
    return FLAT if starts.size == size + 1 else starts


def _fixed(array: AnyArray) -> AnyArray:
    """Return a view that cannot be written."""
    view = array.view()
    view.flags.writeable = False
    return view
