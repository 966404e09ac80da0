"""What clients keep between rounds: dicts of arrays by client, spread over the ranks.

A client's memory lies on the rank that simulated it last and follows it to the next one, so
no result depends on the ranks. What does not fit the memory bound waits on the node's disk.
"""

import json
from collections import OrderedDict
from math import prod

import numpy as np

from fedmpi.errors import MessageError
from fedmpi.record.digest import number_type
from fedmpi.round.spill import Spill

LIMIT = 1 << 30  # bytes of arrays that a rank holds in memory
_SIZE = np.dtype("<u8")


def pack(arrays):
    """Return a dict of arrays as bytes: the header's length, a JSON header, the raw arrays.

    Numbers are little-endian; a header entry is [name, dtype, shape].
    """
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    arrays = {name: a.astype(a.dtype.newbyteorder("<"), copy=False) for name, a in arrays.items()}
    header = json.dumps([[name, a.dtype.str, a.shape] for name, a in arrays.items()]).encode()
    parts = [np.array(len(header), _SIZE).tobytes(), header]
    return b"".join(parts + [a.tobytes() for a in arrays.values()])


def unpack(data):
    """Return the dict of arrays in bytes from `pack`; nothing in them is executed.

    Raises MessageError if the bytes are not whole or contradict themselves.
    """
    try:
        end = _SIZE.itemsize + int(np.frombuffer(data, _SIZE, 1)[0])
        header = json.loads(bytes(data[_SIZE.itemsize : end]))
        entries = [(str(name), number_type(dtype), tuple(shape)) for name, dtype, shape in header]
        sizes = [_bytes_of(dtype, shape) for _, dtype, shape in entries]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise MessageError(f"client memory of {len(data)} bytes: {error}") from None
    if end + sum(sizes) != len(data):
        raise MessageError(f"client memory: {len(data)} bytes, its header says {end + sum(sizes)}")
    arrays = {}
    for (name, dtype, shape), size in zip(entries, sizes, strict=True):
        block = np.frombuffer(data[end : end + size], dtype)
        arrays[name] = block.reshape(shape).astype(dtype.newbyteorder("="))
        end += size
    return arrays


class ClientStore:
    """The memories of the clients that live on this rank, by client id.

    A new memory is staged and counts only after `commit`, so that a round that is broken
    off leaves none; reading an unknown client gives an empty dict.

    Parameters
    ----------
    limit : int
        Bytes of arrays held in memory; the memories used longest ago go to the disk.
    folder : Path, optional
        Where on the disk; default: the system's temporary folder.
    """

    def __init__(self, limit=LIMIT, folder=None):
        self._limit, self._filed = limit, Spill(folder)
        self._held, self._size = OrderedDict(), 0
        self.homes = {}  # client -> rank that holds its memory; alike on all ranks

    def __getitem__(self, client):
        return self._get((client, "kept"))

    def packed(self, client):
        """Return the bytes of a client's memory, as from `pack`; it stays where it is."""
        key = client, "kept"
        return self._filed.get(key) if key in self._filed else pack(self._held[key])

    def stage(self, client, arrays):
        """Take a client's next memory, a dict of arrays; it counts after `commit`."""
        self._put((client, "staged"), arrays)

    def commit(self):
        """Let the staged memories count."""
        for client in self._clients("staged"):
            self._put((client, "kept"), self._pop((client, "staged")))

    def discard(self):
        """Forget the staged memories."""
        for client in self._clients("staged"):
            self._pop((client, "staged"))

    def clients(self):
        """Return the clients that have a memory on this rank, in order."""
        return self._clients("kept")

    def homes_of(self, clients):
        """Return int64[n]: the rank that holds the memory of each of `clients`, -1 for none."""
        return np.array([self.homes.get(client, -1) for client in clients.tolist()], np.int64)

    def move(self, comm, clients, ranks):
        """Bring the memories of `clients` to `ranks` (int64[n] each); collective over `comm`.

        Returns the number of bytes that this rank sent.
        """
        leaving = [[] for _ in range(comm.size)]
        for client, rank in zip(clients.tolist(), ranks.tolist(), strict=True):
            if self.homes.get(client, rank) != rank and self.homes[client] == comm.rank:
                leaving[rank].append(client)
            self.homes[client] = rank
        boxes = [b"".join(map(self._take_out, there)) for there in leaving]
        for box in comm.exchange(boxes):
            self._take_in(box)
        return sum(map(len, boxes))

    def _take_out(self, client):
        """Remove a client's memory and return it as it travels; nothing if it has none."""
        key = client, "kept"
        if key not in self._held and key not in self._filed:
            return b""
        data = pack(self._pop(key))
        return np.array([client, len(data)], "<i8").tobytes() + data

    def _take_in(self, box):
        """Keep the memories in `box`, bytes that `_take_out` made."""
        at = 0
        while at < len(box):
            client, size = (int(n) for n in np.frombuffer(box, "<i8", 2, at))
            self._put((client, "kept"), unpack(box[at + 16 : at + 16 + size]))
            at += 16 + size

    def _clients(self, which):
        keys = {*self._held, *self._filed}
        return sorted(client for client, state in keys if state == which)

    def _get(self, key):
        if key in self._filed:
            self._put(key, self._pop(key))
        elif key in self._held:
            self._held.move_to_end(key)
        return dict(self._held.get(key, {}))

    def _put(self, key, arrays):
        """Hold an entry; those used longest ago go to the disk while there are too many bytes."""
        self._pop(key)
        self._held[key] = arrays
        self._size += _bytes(arrays)
        while self._size > self._limit and len(self._held) > 1:
            oldest, arrays = self._held.popitem(last=False)
            self._size -= _bytes(arrays)
            self._filed.put(oldest, pack(arrays))

    def _pop(self, key):
        """Remove an entry wherever it lies and return it; an empty dict if there is none."""
        if key in self._filed:
            return unpack(self._filed.pop(key))
        arrays = self._held.pop(key, {})
        self._size -= _bytes(arrays)
        return arrays


def _bytes(arrays):
    return sum(array.nbytes for array in arrays.values())


def _bytes_of(dtype, shape):
    """Bytes of an array of a header, or ValueError if it is none that `pack` writes."""
    if not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(f"no array of {dtype} and shape {shape}")
    return dtype.itemsize * prod(shape)
