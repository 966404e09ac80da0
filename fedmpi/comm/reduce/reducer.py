"""Sums over all ranks: inside each node, then between the nodes, one result per node."""

from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
from mpi4py import MPI

from fedmpi import kernels
from fedmpi.comm.reduce.auto import ALGORITHMS, NAMES, Choice, Record, combine
from fedmpi.comm.reduce.cost import calibrate
from fedmpi.comm.reduce.field import FLAT, Field
from fedmpi.comm.reduce.link import CHUNK, Link
from fedmpi.comm.reduce.node_blocks import BlockSlot
from fedmpi.comm.reduce.node_dense import DenseSlot
from fedmpi.comm.reduce.node_lists import ListSlot
from fedmpi.errors import ConfigError, MessageError

CHOICES = ("auto", *NAMES, *(f"node+{name}" for name in NAMES))


@dataclass(frozen=True, eq=False)
class Result:
    """A sum over all ranks, in arrays that all ranks of a node may share: only read them.

    Valid until this rank asks for the next sum of the same name, or writes to the
    arrays that it gave or was given for it.

    total : int64[n] or float32[n]
    cover : int64[U] or float32[U], or one number if one weight was given
    touched : uint8[U], 1 where any rank touched the unit
    """

    total: np.ndarray
    cover: np.ndarray
    touched: np.ndarray
    record: Record


class Reducer:
    """Adds up vectors over the ranks of a communicator; keeps windows and workspaces.

    Every method is collective: all ranks call it with the same name, size, units and
    dtypes, in the same order.

    Attributes
    ----------
    algorithm : str
        "auto" or a name of ALGORITHMS: what sums between nodes. It may be changed from
        sum to sum, on all ranks alike.
    """

    def __init__(
        self, comm, algorithm="auto", *, nodes=None, narrow=False, chunk=CHUNK, log=None, cache=None
    ):
        """Set up on a duplicate of `comm`, so that no message can meet another's.

        Parameters
        ----------
        comm : mpi4py communicator
        algorithm : str
            "auto": shared memory inside nodes, a choice by cost between them; a name
            of ALGORITHMS: that one between all ranks, by messages only; "node+" and a
            name: shared memory inside nodes, that one between them.
        nodes : int, or None
            Number of the node that this rank counts to; None asks MPI.
        narrow : bool
            float32 values travel between nodes as bfloat16.
        chunk : int
            Longest piece handed to MPI, in bytes.
        log : Log, or None
        cache : path of a JSON file that keeps the measured costs, or None
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
        self._link = Link(leaders, chunk, log, narrow) if lead else None
        count = np.array([lead], np.int64)
        self._comm.Allreduce(MPI.IN_PLACE, count)
        self._nodes = int(count[0])
        self.algorithm = algorithm.removeprefix("node+")
        self._cache, self._cost, self._slots, self._choices = cache, None, {}, {}

    def row(self, name, size, starts=FLAT, *, kind=np.int64, exact=True, cover=True):
        """Return this rank's row of the sum `name`: a Field to add to, in shared memory.

        A contribution written here is summed without being copied. It is zero at first
        and is cleared by `row.clear()`.

        Parameters
        ----------
        size : int
        starts : int64[U+1], or FLAT if units are coordinates
        kind : dtype of the contribution, int64 or float32
        exact : bool, True for int64 sums
        cover : bool, True for a weight per unit
        """
        dtype = np.dtype(np.int64 if exact else np.float32)
        if starts.size in (0, size + 1):
            key = (DenseSlot, size, np.dtype(kind), dtype, bool(cover))
            return self._slot(name, key, size, kind, dtype, cover).mine
        key = (BlockSlot, size, starts.size, np.dtype(kind), dtype, bool(cover))
        return self._slot(name, key, size, starts, kind, dtype, cover).mine

    def list_row(self, name, size, capacity, *, kind=np.float32, exact=True, cover=False):
        """Return this rank's row of the sum of lists `name`: (uint32[capacity], kind[capacity]).

        As `row`, for the ascending indices and the values of single coordinates, written
        from the beginning. It is as long as the first caller asked for.
        """
        dtype = np.dtype(np.int64 if exact else np.float32)
        key = (ListSlot, size, np.dtype(kind), dtype, bool(cover))
        weights = "one" if cover else ""
        return self._slot(name, key, size, capacity, kind, dtype, weights).row[:2]

    def sum(self, total, cover, touched, starts=FLAT, *, scale=None, name="sum"):
        """Add up vectors over all ranks.

        Parameters
        ----------
        total : int64[n] or float32[n]
            This rank's part, zero where not touched. If the rank is alone on its node,
            the sum is made in these arrays; take it from the result in any case.
        cover : array of the sum's dtype [U], or a number
            The weight behind each unit (coverage mean), or behind all (zero-fill).
        touched : uint8[U]
            1 where this rank holds a unit.
        starts : int64[U+1]
            Unit u is the block from starts[u] to starts[u+1].
        scale : float, or None
            If given, float32 `total` is summed exactly: as int64 rint(scale * total).
        name : str
            Sums of one name follow each other and share their workspace.

        Returns
        -------
        Result
        """
        began = perf_counter()
        starts = FLAT if starts.size == total.size + 1 else starts
        each = isinstance(cover, np.ndarray)
        exact = total.dtype == np.int64 or scale is not None
        weight = _weight(0 if each else cover, exact)
        if self._node.size == 1 and exact == (total.dtype == np.int64):
            field = Field(total, cover if each else total[:0], touched, starts)
            return self._between(name, field, weight, None, began)
        self.row(name, total.size, starts, kind=total.dtype, exact=exact, cover=each)
        slot = self._slots[name][1]
        given = Field(total, cover if each else slot.mine.cover, touched, slot.starts)
        slot.reduce(given, 1.0 if scale is None else scale, weight)
        return self._between(name, slot.view(), slot.weight[0], slot, began)

    def sum_list(self, units, values, size, weight=0, *, scale=None, cover=False, name="list"):
        """Add up lists of single coordinates over all ranks.

        Parameters
        ----------
        units : uint32[m]
            Ascending, below `size`.
        values : int64[m] or float32[m]
        size : int
            Coordinates of the sum.
        weight : int or float
            Weight of this rank's list: of its coordinates if `cover`, else of all.
        scale, name :
            As in `sum`.

        Returns
        -------
        Result

        Raises
        ------
        MessageError
            If the indices do not ascend or are out of range.
        """
        began = perf_counter()
        try:
            kernels.lists.check(units, size)
        except ValueError as error:
            raise MessageError(f"sum of lists {name!r}: {error} (size {size})") from None
        exact = values.dtype == np.int64 or scale is not None
        self.list_row(name, size, size, kind=values.dtype, exact=exact, cover=cover)
        slot = self._slots[name][1]
        slot.write(units, values)
        slot.reduce(units.size, 1.0 if scale is None else scale, _weight(weight, exact))
        return self._between(name, slot.view(), slot.weight[0], slot, began)

    def close(self):
        """Give shared memory and communicators back; no result may be read after."""
        for _, slot in self._slots.values():
            slot.close()
        self._slots.clear()
        for comm in (self._link and self._link.comm, self._node, self._comm):
            if comm:
                comm.Free()

    def _slot(self, name, key, *sizes):
        """Return the slot `name`, made anew if it is not of this key."""
        have, slot = self._slots.get(name, (None, None))
        if have != key:
            if slot is not None:
                slot.close()
            slot = key[0](self._node, *sizes)
            self._slots[name] = key, slot
        return slot

    def _between(self, name, field, weight, slot, began):
        """Add up the sums of the nodes, in place; return the Result."""
        if self._nodes == 1:
            touched = field.extent() if slot is None else slot.found.sum()
            record = Record("node", density=int(touched) / max(field.size, 1))
        elif self._link is None:
            slot.sync()
            choice, density, regret = slot.note.tolist()
            record = Record(NAMES[int(choice)], density=density, regret=regret)
            weight = slot.weight[0]
        else:
            if self.algorithm == "auto" and self._cost is None:
                self._cost = calibrate(self._link, self._cache)
            choice = self._choices.setdefault(name, Choice())
            how = self.algorithm, self._cost, choice
            record, weight = combine(self._link, field, weight, *how)
            if slot is not None:
                slot.weight[0] = weight
                slot.note[:] = NAMES.index(record.algorithm), record.density, record.regret
                slot.sync()
        if slot is not None and self._nodes > 1:
            slot.changed()
        cover = field.cover if field.cover.size else weight
        record = replace(record, seconds=perf_counter() - began)
        return Result(_fixed(field.total), _fixed(cover), _fixed(field.touched), record)


def _weight(weight, exact):
    """Return a weight as the number that sums of this kind hold."""
    return np.int64(weight) if exact else np.float64(weight)


def _fixed(array):
    """Return a view that cannot be written; numbers as they are."""
    if array.ndim == 0:
        return array
    view = array.view()
    view.flags.writeable = False
    return view
