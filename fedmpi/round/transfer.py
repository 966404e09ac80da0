"""Transfer of client memories between ranks, a bounded number of bytes at a time.

The stream to a rank is a sequence of records: client and length (two int64), then the bytes. It is
cut into chunks regardless of the records, so a memory may be longer than a chunk.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from fedmpi.comm.base import Comm

CHUNK = 1 << 26  # most bytes that a rank sends at a time, to all ranks together, and receives
HEAD = 16  # bytes of client and length together


def transferred(
    comm: Comm, leaving: Sequence[Iterable[int]], bytes_of: Callable[[int], bytes]
) -> Iterator[tuple[int, bytearray]]:
    """Send client memories to ranks; yield each (client, bytearray) that arrives. Collective.

    Parameters
    ----------
    comm : Comm
    leaving : for each rank, the clients whose memories move to that rank
    bytes_of : callable
        bytes_of(client) returns the bytes of a memory, b"" if there is none. It is called only when
        there is room in a chunk, so that few memories are held as bytes at a time.
    """
    streams = [_Leaving(clients, bytes_of) for clients in leaving]
    arriving = [_Arriving() for _ in range(comm.size)]
    most = CHUNK // comm.size
    while True:
        boxes = [stream.next(most) for stream in streams]
        if not comm.sum_array(np.array([sum(map(len, boxes))], np.int64))[0]:
            return
        for source, box in zip(arriving, comm.exchange(boxes), strict=True):
            yield from source.records(box)


class _Leaving:
    """The records of clients as a stream of bytes."""

    def __init__(self, clients: Iterable[int], bytes_of: Callable[[int], bytes]) -> None:
        self._records = (record for client in clients for record in _record(client, bytes_of))
        self._rest = memoryview(b"")

    def next(self, most: int) -> bytes:
        """Return up to `most` more bytes of the stream, b"" at its end."""
        pieces, room = [], most
        while room:
            if not self._rest:
                self._rest = memoryview(next(self._records, b""))
                if not self._rest:
                    break
            pieces.append(self._rest[:room])
            self._rest = self._rest[room:]
            room -= len(pieces[-1])
        return b"".join(pieces)


class _Arriving:
    """Records reassembled from the chunks of one stream."""

    def __init__(self) -> None:
        self._head, self._data, self._filled = bytearray(), bytearray(), 0

    def records(self, chunk: bytes | memoryview) -> Iterator[tuple[int, bytearray]]:
        """Take the next chunk, and yield the records that it completes."""
        chunk = memoryview(chunk)
        while chunk:
            if len(self._head) < HEAD:
                lacking = HEAD - len(self._head)
                self._head += chunk[:lacking]
                chunk = chunk[lacking:]
                if len(self._head) < HEAD:
                    return
                self._data, self._filled = bytearray(self._numbers()[1]), 0
            part = chunk[: len(self._data) - self._filled]
            self._data[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            chunk = chunk[len(part) :]
            if self._filled == len(self._data):
                yield self._numbers()[0], self._data
                self._head, self._data = bytearray(), bytearray()

    def _numbers(self) -> list[int]:
        """Return [client, length] of the current record."""
        numbers: list[int] = np.frombuffer(self._head, "<i8").tolist()
        return numbers


def _record(client: int, bytes_of: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield the head and the bytes of a client's record, or nothing if it has no memory."""
    data = bytes_of(client)
    if data:
        yield np.array([client, len(data)], "<i8").tobytes()
        yield data
