"""Client memories, the dicts of arrays that clients keep between rounds, spread over the ranks.

A client's memory is held by the rank that simulated the client last, and moves with the client to
another rank, so no result depends on the ranks. Memories that exceed the memory limit are stored
on the node's disk.
"""

import json
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from fedmpi.arrays import AnyArray, Integers, Memory
from fedmpi.comm.base import Comm
from fedmpi.errors import MessageError
from fedmpi.record.digest import little_endian, number_type
from fedmpi.round.spill import Spill
from fedmpi.round.transfer import transferred

LIMIT = 1_024_000_000  # bytes that a rank holds in memory, unless run.memory_mb sets another limit
ENTRY = 600  # bytes that Python's objects add to a client memory of one array
_SIZE = np.dtype("<u8")


def pack(arrays: Memory) -> bytes:
    """Return a dict of arrays as bytes: the header's length, a JSON header, the raw arrays.

    Numbers are little-endian. Each entry of the header is [name, dtype, shape].
    """
    arrays = {name: little_endian(array) for name, array in arrays.items()}
    header = json.dumps([[name, a.dtype.str, a.shape] for name, a in arrays.items()]).encode()
    raw = [a.reshape(-1).view(np.uint8).data for a in arrays.values()]
    return b"".join([np.array(len(header), _SIZE).tobytes(), header, *raw])


def unpack(data: bytes | bytearray) -> dict[str, AnyArray]:
    """Return the dict of arrays in bytes from `pack`; nothing in them is executed.

    Raises MessageError if the bytes are truncated or inconsistent.
    """
    whole = memoryview(data)  # slices of it are not copies
    try:
        end = _SIZE.itemsize + int(np.frombuffer(whole, _SIZE, 1)[0])
        header = json.loads(bytes(whole[_SIZE.itemsize : end]))
        entries = [(str(name), number_type(dtype), tuple(shape)) for name, dtype, shape in header]
        sizes = [_bytes_of(dtype, shape) for _, dtype, shape in entries]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise MessageError(f"client memory of {len(data)} bytes: {error}") from None
    if end + sum(sizes) != len(data):
        raise MessageError(f"client memory: {len(data)} bytes, its header says {end + sum(sizes)}")
    arrays = {}
    for (name, dtype, shape), size in zip(entries, sizes, strict=True):
        block = np.frombuffer(whole[end : end + size], dtype)
        arrays[name] = block.reshape(shape).astype(dtype.newbyteorder("="))
        end += size
    return arrays


class ClientStore:
    """The client memories held by this rank, by client id.

    A new memory is prepared and takes effect only with `commit`, so that an interrupted round
    leaves none behind. Reading an unknown client gives an empty dict.

    Parameters
    ----------
    homes : int32[K] of zeros
        Is changed in place to record which rank holds each client's memory. The ranks of a node
        may share the array, since all of them write the same numbers in each round.
    limit : int
        Most bytes held in memory; the least recently used memories are moved to disk.
    folder : Path, optional
        Folder for the file on disk; default: the system's temporary folder.
    """

    def __init__(
        self, homes: AnyArray | Sequence[int] = (), limit: int = LIMIT, folder: Path | None = None
    ) -> None:
        self._limit, self._filed, self._size = limit, Spill(folder), 0
        self._held: OrderedDict[Hashable, Memory] = OrderedDict()
        self._prepared: set[int] = set()
        self._home = np.asarray(homes, np.int32)  # rank + 1, 0 for none

    def __getitem__(self, client: int) -> Memory:
        """Return the memory of a client, a dict of arrays, which must not be changed."""
        return self._get((client, "kept"))

    def packed(self, client: int) -> bytes:
        """Return a client's memory as bytes, as from `pack`, without removing it."""
        key = client, "kept"
        return self._filed.get(key) if key in self._filed else pack(self._held[key])

    def prepare(self, client: int, arrays: Memory) -> None:
        """Set aside a client's next memory, a dict of arrays, which takes effect with `commit`.

        Arrays are kept in the form in which they come back from the disk or another rank, so that
        no result depends on where the memory was.
        """
        self._prepared.add(client)
        held = {name: _by_itself(little_endian(array)) for name, array in arrays.items()}
        self._put((client, "prepared"), held)

    def commit(self) -> None:
        """Replace memories by those that were prepared."""
        for client in sorted(self._prepared):
            self._put((client, "kept"), self._pop((client, "prepared")))
        self._prepared.clear()

    def discard(self) -> None:
        """Discard the prepared memories."""
        for client in self._prepared:
            self._pop((client, "prepared"))
        self._prepared.clear()

    def clients(self) -> list[int]:
        """Return the ids of the clients with a memory on this rank, ascending."""
        keys = {*self._held, *self._filed}
        return sorted(client for client, state in keys if state == "kept")

    def homes_of(self, clients: Integers) -> Integers:
        """Return the rank that holds each client's memory, int64[n], or -1 if no rank does."""
        return self._home[clients].astype(np.int64) - 1

    def ranks_for(self, clients: Integers, ranks: int) -> Integers:
        """Return int64[n]: the rank with the memory of each of `clients`, else any of `ranks`."""
        homes = self.homes_of(clients)
        return np.where(homes < 0, clients % ranks, homes)

    def set_homes(self, clients: Integers, ranks: Integers) -> None:
        """Record that the memories of `clients` int64[n] are now on `ranks` int64[n]."""
        self._home[clients] = ranks + 1

    def move(self, comm: Comm, clients: Integers, ranks: Integers) -> int:
        """Move the memories of `clients` to `ranks` (int64[n] each); collective over `comm`.

        Returns the number of bytes that this rank sent.
        """
        homes, sent = self.homes_of(clients), 0
        mine = (homes == comm.rank) & (ranks != homes)
        going = clients[mine][np.argsort(ranks[mine], kind="stable")]
        counts = np.bincount(ranks[mine], minlength=comm.size)
        leaving = [part.tolist() for part in np.split(going, np.cumsum(counts)[:-1])]

        def take(client: int) -> bytes:
            """Remove the memory of a client that leaves; return its bytes, and count them."""
            nonlocal sent
            data = self._take_out(client)
            sent += len(data)
            return data

        for client, data in transferred(comm, leaving, take):
            self._put((client, "kept"), unpack(data))
        self.set_homes(clients, ranks)
        return sent

    def _take_out(self, client: int) -> bytes:
        """Remove a client's memory and return its bytes; b"" if it has none."""
        key = client, "kept"
        if key in self._filed:
            return self._filed.pop(key)
        return pack(self._pop(key)) if key in self._held else b""

    def _get(self, key: Hashable) -> Memory:
        """Return an entry, read back from disk if needed, and make it the most recently used."""
        if key in self._filed:
            self._put(key, self._pop(key))
        elif key in self._held:
            self._held.move_to_end(key)
        return dict(self._held.get(key, {}))

    def _put(self, key: Hashable, arrays: Memory) -> None:
        """Hold an entry; move the least recently used entries to disk if the limit is exceeded."""
        self._pop(key)
        self._held[key] = arrays
        self._size += _bytes(arrays)
        while self._size > self._limit and len(self._held) > 1:
            oldest, arrays = self._held.popitem(last=False)
            self._size -= _bytes(arrays)
            self._filed.put(oldest, pack(arrays))

    def _pop(self, key: Hashable) -> Memory:
        """Remove an entry from memory or disk, and return it; return {} if there is none."""
        if key in self._filed:
            return unpack(self._filed.pop(key))
        arrays = self._held.pop(key, {})
        self._size -= _bytes(arrays)
        return arrays


def _by_itself(array: AnyArray) -> AnyArray:
    """Return an array, and a copy of it if it would keep a larger array in memory."""
    lender = array.base
    larger = isinstance(lender, np.ndarray) and lender.nbytes > array.nbytes
    return array.copy() if larger else array


def _bytes(arrays: Memory) -> int:
    """Return the bytes that a client memory takes, 0 if it is empty."""
    return sum(array.nbytes for array in arrays.values()) + ENTRY * bool(arrays)


def _bytes_of(dtype: np.dtype[Any], shape: Sequence[int]) -> int:
    """Return the bytes of an array in a header. Raise ValueError if its shape is invalid."""
    if not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(f"no array of {dtype} and shape {shape}")
    return dtype.itemsize * prod(shape)
