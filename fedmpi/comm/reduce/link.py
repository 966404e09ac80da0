"""The communication patterns of the reductions: exchanges in pairs, allgather and allreduce.

Each pattern keeps its buffers between calls and counts bytes in 64 bits. Long messages are cut
into chunks that every MPI library accepts. Receives are posted before sends, and every request
is completed. Nothing is pickled.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from mpi4py import MPI

from fedmpi.arrays import AnyArray, Flags, Integers, Octets
from fedmpi.comm.reduce.log import Log

FIRST = 1 << 16  # bytes of a message that travel before the receiver knows its length
CHUNK = 1 << 30  # longest piece handed to MPI at once, in bytes
NOTHING: Octets = np.zeros(0, np.uint8)


class Link:
    """One communicator with its workspaces and its log.

    Attributes
    ----------
    step : int
        Number of the next round of messages, for the log; the same at both ends of a
        message. Collectives increment it; callers of `swap` set it themselves.
    sent : int
        Bytes sent to other ranks so far. A built-in collective counts as the bytes that a
        bandwidth-optimal algorithm would send.
    """

    def __init__(self, comm: MPI.Comm, chunk: int = CHUNK, log: Log | None = None) -> None:
        self.comm, self.chunk, self.log = comm, chunk, log
        self.rank, self.size = comm.rank, comm.size
        self.sent = self.step = 0
        self._work: dict[str, Octets] = {}

    def take(self, name: str, size: int) -> Octets:
        """Return uint8[size] from workspace `name`, valid until the name is taken again."""
        have = self._work.get(name)
        if have is None or have.size < size:
            have = self._work[name] = np.empty(max(size, FIRST) * 5 // 4, np.uint8)
        return have[:size]

    def swap(self, message: Octets, target: int | None, source: int | None) -> Octets:
        """Send a message (see message.py) to `target`; return the message from `source`.

        Either rank may be None. Pass NOTHING as `message` if there is no target; the answer is
        NOTHING if there is no source. The first int64 of a message is its length in bytes. The
        answer is in a workspace and valid until the next swap.
        """
        first = min(FIRST, self.chunk)
        requests, head, answer = [], self.take("first", first), NOTHING
        if source is not None:
            head_in = self.comm.Irecv([head, MPI.BYTE], source=source)
        if target is None:
            self._note(-1, 0, "pair")
        else:
            self._note(target, message.size, "pair")
            for piece in _pieces(message, first, self.chunk):
                requests.append(self.comm.Isend([piece, MPI.BYTE], dest=target))
        if source is not None:
            head_in.Wait()
            size = int(head[:8].view(np.int64)[0])
            answer = self.take("message", size)
            answer[:first] = head[:size]
            for piece in list(_pieces(answer, first, self.chunk))[1:]:
                requests.append(self.comm.Irecv([piece, MPI.BYTE], source=source))
        MPI.Request.Waitall(requests)
        self._resume()
        return answer

    def allgather(self, message: Octets) -> list[Octets]:
        """Return the messages of all ranks in rank order, as views of one workspace."""
        sizes = self.gather_row(np.array([message.size], np.int64))
        ends = np.concatenate(([0], np.cumsum(sizes)))
        everything = self.take("everything", int(ends[-1]))
        everything[ends[self.rank] : ends[self.rank + 1]] = message
        self._gather(everything.view(np.int64), ends // 8)
        return [everything[a:b] for a, b in pairwise(ends)]

    def allgather_ranges(self, array: AnyArray, bounds: Integers) -> None:
        """Fill array[bounds[r]:bounds[r+1]] from each rank r, in place."""
        if array.size:
            self._gather(array, np.asarray(bounds, np.int64))

    def allreduce(self, array: AnyArray, op: MPI.Op = MPI.SUM) -> None:
        """Combine one array over the ranks with a built-in operation, in place."""
        if array.size == 0:
            return
        self._note(-1, 2 * array.nbytes * (self.size - 1) // self.size, "allreduce")
        step = max(self.chunk // array.itemsize, 1)
        for a in range(0, array.size, step):
            self.comm.Allreduce(MPI.IN_PLACE, array[a : a + step], op=op)
        self._resume()
        self.step += 1

    def unite(self, touched: Flags) -> None:
        """Set `touched`, uint8[V] of 0 and 1, in place to the union of the marks of all ranks."""
        bits = np.packbits(touched)
        self.allreduce(bits, MPI.BOR)
        touched[:] = np.unpackbits(bits, count=touched.size)

    def _gather(self, array: AnyArray, bounds: Integers) -> None:
        """Fill array[bounds[r]:bounds[r+1]] from each rank r, in place."""
        sizes = np.diff(bounds)
        self._note(-1, int(sizes.sum() - sizes[self.rank]) * array.itemsize, "allgather")
        self.step += 1
        if sizes.max() * array.itemsize <= min(FIRST, self.chunk):
            kind = MPI.Datatype.fromcode(array.dtype.char)
            self.comm.Allgatherv(MPI.IN_PLACE, [array, sizes, bounds[:-1], kind])
            self._resume()
            return
        # Long ranges are sent straight to their place, which is faster than the libraries' rings.
        parts = [array[a:b].view(np.uint8) for a, b in pairwise(bounds)]
        others = [(self.rank + step) % self.size for step in range(1, self.size)]
        requests = [
            self.comm.Irecv([piece, MPI.BYTE], source=other)
            for other in reversed(others)
            for piece in _pieces(parts[other], self.chunk, self.chunk)
        ]
        requests += [
            self.comm.Isend([piece, MPI.BYTE], dest=other)
            for other in others
            for piece in _pieces(parts[self.rank], self.chunk, self.chunk)
        ]
        MPI.Request.Waitall(requests)
        self._resume()

    def gather_row(self, row: Integers) -> Integers:
        """Return the int64[k] rows of all ranks as int64[P, k]."""
        rows = np.empty((self.size, row.size), np.int64)
        self._note(-1, row.nbytes * (self.size - 1), "allgather")
        self.comm.Allgather(row, rows)
        self.step += 1
        self._resume()
        return rows

    def begin(self) -> None:
        """Begin the log of a sum, whose steps count from 0."""
        self.step = 0
        self._resume()

    def done(self) -> None:
        """Close the log of a sum, and note the work after its last message."""
        self._note(-1, 0, "done")
        self.step += 1

    def _note(self, target: int, size: int, kind: str) -> None:
        self.sent += size
        if self.log is not None:
            self.log.add(self.step, self.rank, target, size, kind)

    def _resume(self) -> None:
        if self.log is not None:
            self.log.resume()


def _pieces(message: Octets, first: int, chunk: int) -> Iterator[Octets]:
    """Yield a message in pieces: its first bytes, then chunks."""
    yield message[:first]
    for a in range(first, message.size, chunk):
        yield message[a : a + chunk]
