"""Communication between the ranks of an MPI job."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
from mpi4py import MPI

from fedmpi.arrays import AnyArray, Integers
from fedmpi.comm.base import Arrays, Bytes, Comm, Summation, read_only
from fedmpi.comm.leave import end_all
from fedmpi.comm.library import version_line
from fedmpi.comm.reduce.auto import Record
from fedmpi.comm.reduce.reducer import Reducer
from fedmpi.comm.window import Table, close_window, open_window
from fedmpi.totals import Total

Raw: TypeAlias = MPI.Intracomm
"""The mpi4py communicator that an Mpi wraps."""
CHUNK = 1 << 30  # most bytes of a sum or of gathered rows that MPI gets in one call


class Mpi(Comm):
    """All ranks of `comm` (default: the whole job), on a duplicate of that communicator."""

    def __init__(self, comm: MPI.Intracomm | None = None) -> None:
        self.raw = (comm or MPI.COMM_WORLD).Dup()
        self.node = self.raw.Split_type(MPI.COMM_TYPE_SHARED)
        self.rank, self.size = self.raw.rank, self.raw.size
        self.node_rank, self.node_size = self.node.rank, self.node.size
        self.library = version_line(MPI.Get_library_version())
        self._windows: list[MPI.Win | None] = []
        self._reducer: Reducer | None = None
        self._how: tuple[str, Path | None] = "auto", None
        self.overlaps = self.size > 1 and MPI.Query_thread() == MPI.THREAD_MULTIPLE
        self._background: ThreadPoolExecutor | None = None
        self._ahead: tuple[Mapping[str, Total], Future[list[Record]] | None] = {}, None

    def sum(self, totals: Mapping[str, Total]) -> Summation:
        """Add up the totals over the ranks, in place, in the order of their sorted names."""
        if self.size == 1:
            return Summation()
        before, records = self._take_ahead()
        records = records + self._sum(totals)
        for name, total in before.items():
            totals[name].join(total)
        if not records:
            return Summation()
        largest = max(records, key=lambda record: record.seconds)
        return Summation(
            algorithm=largest.algorithm,
            bytes=sum(record.bytes for record in records),
            regret=sum(record.regret for record in records),
        )

    def allocate(self, totals: Mapping[str, Total]) -> None:
        """Move empty totals, in place, into memory from which `sum` adds them without a copy."""
        if self.size == 1:
            return
        reducer = self._made_reducer()
        for name in sorted(totals):
            total = totals[name]
            given = total.sum.size, total.starts
            covered = total.cover.size > 0
            row = reducer.row(name, *given, dtype=total.sum.dtype, cover=covered)
            if row is not None:
                total.sum, total.cover, total.touched = row.total, row.cover, row.touched

    def sum_ahead(self, totals: Mapping[str, Total]) -> None:
        """Start to add up totals on a thread; the next `sum` includes the result.

        Measured on MPICH and Intel MPI, a thread with the blocking call hides nearly the whole sum
        behind work that releases Python's global lock, and MPI's nonblocking collectives hide
        nothing. The thread spins on a core, so it pays only where a core is free; the round loop
        tries both ways (fedmpi/round/early_sums.py).
        """
        self._made_reducer()  # made on this thread: the other must not use our communicator
        self._background = self._background or ThreadPoolExecutor(1)
        self._ahead = totals, self._background.submit(self._sum, totals, keep=True)

    def drop_ahead(self) -> None:
        """Wait for a sum started by `sum_ahead`, and discard its result."""
        self._take_ahead()

    def _take_ahead(self) -> tuple[Mapping[str, Total], list[Record]]:
        """Wait for a sum started by `sum_ahead`; return its (totals, records), empty if none."""
        totals, pending = self._ahead
        self._ahead = {}, None
        return totals, pending.result() if pending else []

    def _made_reducer(self) -> Reducer:
        """Return the Reducer, which is made on first use; collective."""
        if self._reducer is None:
            algorithm, costs = self._how
            self._reducer = Reducer(self.raw, algorithm, cache=costs)
        return self._reducer

    def _sum(self, totals: Mapping[str, Total], keep: bool = False) -> list[Record]:
        """Add up totals over the ranks, in place; return the Records.

        With `keep`, the totals stay valid when the next totals of the same names are summed.
        """
        reducer, records = self._made_reducer(), []
        for name in sorted(totals):
            total = totals[name]
            parts = total.sum, total.cover, total.touched, total.starts
            result = reducer.sum(*parts, weight=total.all, name=name)
            shared = keep and not np.may_share_memory(result.total, total.sum)
            arrays = result.total, result.cover, result.touched
            values, cover, touched = map(np.copy, arrays) if shared else arrays
            total.replace(values, cover, touched, result.weight)
            records.append(result.record)
        return records

    def sum_by(self, algorithm: str, cache: Path | None = None) -> None:
        """Choose the algorithm of `sum`; collective. `cache` is a folder for measured costs."""
        if self._reducer is not None:
            self._reducer.close()
        self._reducer, self._how = None, (algorithm, cache and cache / "collective-costs.json")

    def sum_array(self, array: AnyArray) -> AnyArray:
        """Add up one array over the ranks, in place, in chunks."""
        flat = np.frombuffer(array, array.dtype)  # refuses an array that is not contiguous
        step = CHUNK // array.itemsize
        for at in range(0, flat.size, step):
            self.raw.Allreduce(MPI.IN_PLACE, flat[at : at + step], op=MPI.SUM)
        return array

    def gather_rows(self, rows: AnyArray) -> AnyArray:
        """Return the rows of all ranks, in rank order; they are sent in chunks."""
        rows = np.ascontiguousarray(rows)
        counts = np.zeros(self.size, np.int64)
        self.raw.Allgather(np.array([len(rows)], np.int64), counts)
        width = rows.dtype.itemsize * int(np.prod(rows.shape[1:], dtype=np.int64))
        most = max(CHUNK // max(width * self.size, 1), 1)  # rows that a rank sends at a time
        if counts.max() <= most:
            return self._gather(rows, counts, width)
        everything = np.empty((int(counts.sum()), *rows.shape[1:]), rows.dtype)
        places = np.split(everything, np.cumsum(counts)[:-1])
        for at in range(0, int(counts.max()), most):
            here = np.clip(counts - at, 0, most)
            chunk = self._gather(rows[at : at + most], here, width)
            for place, part in zip(places, np.split(chunk, np.cumsum(here)[:-1]), strict=True):
                place[at : at + most] = part
        return everything

    def _gather(self, rows: AnyArray, counts: Integers, width: int) -> AnyArray:
        """Return the rows of all ranks, `counts` int64[ranks] of `width` bytes each."""
        everything = np.empty((int(counts.sum()), *rows.shape[1:]), rows.dtype)
        starts = np.cumsum(counts) - counts
        self.raw.Allgatherv(
            [rows, MPI.BYTE], [everything, counts * width, starts * width, MPI.BYTE]
        )
        return everything

    def exchange(self, boxes: Sequence[Bytes]) -> Sequence[Bytes]:
        """Send boxes[r] to each rank r; return the bytes from each rank, views of one buffer."""
        sizes = np.array([len(box) for box in boxes], np.int64)
        coming = np.zeros(self.size, np.int64)
        self.raw.Alltoall(sizes, coming)
        buffer = np.empty(int(coming.sum()), np.uint8)
        ends, arrivals = np.cumsum(sizes), np.cumsum(coming)
        going = b"".join(box for box in boxes if len(box))  # no copy if it is one box
        self.raw.Alltoallv(
            [np.frombuffer(going, np.uint8), sizes, ends - sizes, MPI.BYTE],
            [buffer, coming, arrivals - coming, MPI.BYTE],
        )
        return [part.data for part in np.split(buffer, arrivals[:-1])]

    def share(self, value: Any) -> Any:
        """Return the value that rank 0 passed."""
        return _share(self.raw, value)

    def share_on_node(self, arrays: Arrays | None, purpose: str) -> Arrays:
        """Place the arrays of the node's first rank in a shared window and return views of it."""
        given = arrays or {}
        if self.node_size == 1:
            return read_only(given)
        views = self._window(self._table(given), purpose)
        if self.node_rank == 0:
            for name, view in views.items():
                view[...] = given[name]
        self.node.Barrier()
        return read_only(views)

    def copy_on_node(self, arrays: Arrays | None) -> Arrays:
        """Send the arrays of the node's first rank to the other ranks, in chunks."""
        given = arrays or {}
        table = self._table(given)
        if self.node_rank:
            given = {name: np.empty(shape, kind) for name, (shape, kind) in table.items()}
        for name in table:
            array = np.ascontiguousarray(given[name]).reshape(-1).view(np.uint8)
            for at in range(0, array.size, CHUNK):
                self.node.Bcast([array[at : at + CHUNK], MPI.BYTE], root=0)
        return given

    def _table(self, arrays: Arrays) -> Table:
        """Return name -> (shape, dtype) of the arrays of the node's first rank."""
        table: Table = {name: (array.shape, array.dtype.str) for name, array in arrays.items()}
        found: Table = _share(self.node, table)
        return found

    def node_zeros(self, shape: Sequence[int], dtype: type) -> AnyArray:
        """Return zeros in a shared window."""
        zeros = self._window({"zeros": (shape, dtype)}, "a run")["zeros"]
        if self.node_rank == 0:
            zeros[...] = 0
        self.node.Barrier()
        return zeros

    def _window(self, arrays: Table, purpose: str) -> Arrays:
        """Return arrays {name: (shape, dtype)} in a window of the node, valid until `close`."""
        window, views = open_window(self.node, arrays, purpose)
        self._windows.append(window)
        return views

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.raw.Barrier()

    def node_barrier(self) -> None:
        """Wait for all ranks on this node."""
        self.node.Barrier()

    def close(self) -> None:
        """Free the communicators and the shared memory."""
        if self._background is not None:
            self._background.shutdown()
        if self._reducer is not None:
            self._reducer.close()
        for window in self._windows:
            close_window(window)
        self._reducer, self._windows = None, []
        for comm in (self.node, self.raw):
            if comm:
                comm.Free()

    def abort(self, code: int) -> NoReturn:
        """End all ranks at once, after a short wait in which this rank's stderr gets through."""
        end_all(code)


def _share(comm: MPI.Comm, value: Any) -> Any:
    """Return the value of rank 0 of `comm`, sent as JSON, since mpi4py would pickle it."""
    text = json.dumps(value).encode() if comm.rank == 0 else b""
    length = np.array([len(text)], np.int64)
    comm.Bcast(length, root=0)
    buffer = np.frombuffer(text, np.uint8).copy() if text else np.empty(length[0], np.uint8)
    comm.Bcast(buffer, root=0)
    return json.loads(buffer.tobytes())
