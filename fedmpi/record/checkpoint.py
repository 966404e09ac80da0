"""The checkpoint: one file that is whole or not there, and checks itself.

    magic | parts, one after the other | index (JSON) | trailer

A part is the bytes of one array or of one client's memory. The index names each part with its
place, length and CRC-32; the trailer says where the index is, and its CRC-32. All numbers are
little-endian. Nothing in the file is executed, and no length is believed before it is checked.
"""

import json
import os
import re
import struct
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fedmpi.errors import ResultError
from fedmpi.record.digest import number_type
from fedmpi.record.whole import replacement

MAGIC = b"FEDMPI-CHECKPOINT-1\n"
PARTS = r"(algorithm|selector|cohorts|stage/\d+)/(.+)"  # part of a run, name of the array
TRAILER = struct.Struct("<QQI")  # place of the index, its length, its CRC-32


def path_of(out):
    """Return the path of the checkpoint beside the result file `out`."""
    return Path(f"{out}.checkpoint")


def remove(out):
    """Remove the checkpoint beside the result file `out`, if there is one."""
    try:
        path_of(out).unlink(missing_ok=True)
    except OSError as error:
        raise ResultError(
            f"{path_of(out)}: is of another run and cannot be removed ({error.strerror}); "
            "remove it, or choose another name for the result"
        ) from error


def by_name(parts):
    """Return the arrays of a run, {part: {name: array}}, as "part/name" -> array."""
    return {f"{part}/{name}": arrays[name] for part, arrays in parts.items() for name in arrays}


def by_part(kept):
    """Return the arrays of a Checkpoint as {part: {name: array}}, parts without arrays too.

    Parts are "algorithm", "selector", "cohorts" and "stage/<number>". Raises ResultError for an
    array of another part.
    """
    parts = {"algorithm": {}, "selector": {}, "cohorts": {}}
    without_parts = "weights" in kept.arrays  # as version 0.1 wrote them
    for name, array in kept.arrays.items():
        found = re.fullmatch(PARTS, _renamed(name) if without_parts else name)
        if not found:
            raise ResultError(
                f"{kept.path}: array {name[:40]!r} is of no part that this version knows ("
                f"{', '.join(parts)}, stage/<number>); resume with the version that wrote it"
            )
        parts.setdefault(found[1], {})[found[2]] = array
    return parts


def _renamed(name):
    """Return the name that an array of a checkpoint without parts has today."""
    if name == "flights":
        return "cohorts/table"
    version = re.fullmatch(r"flights (\d+) (.+)", name)
    return f"cohorts/{version[1]}/{version[2]}" if version else f"algorithm/{name}"


class Checkpoint:
    """A checkpoint as read: `facts` (plain values), `arrays` by name, clients on request."""

    def __init__(self, path, facts, arrays, clients):
        self.path, self.facts, self.arrays, self._clients = path, facts, arrays, clients

    @property
    def clients(self):
        """Numbers of the clients whose memory the checkpoint holds, ascending."""
        return sorted(self._clients)

    def client(self, client):
        """Return the bytes that were written for one client."""
        with _refusing(self.path), open(self.path, "rb") as file:
            return _part(file, self._clients[client], self.path, f"client {client}")


@contextmanager
def writing(path, facts):
    """Write a checkpoint whole: `with writing(path, facts) as put: put.array(name, array)`.

    The file appears under `path` when the block ends, on disk and complete; until then, and if
    the block raises, the one before stays. `facts` is a dict that JSON can hold.
    """
    try:
        with replacement(path) as part, open(part, "wb") as file:
            file.write(MAGIC)
            put = _Parts(file)
            yield put
            index = json.dumps({"facts": facts, "arrays": put.arrays, "clients": put.clients})
            place = file.tell()
            file.write(index.encode())
            crc = zlib.crc32(index.encode())
            file.write(TRAILER.pack(place, file.tell() - place, crc))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ResultError(
            f"{path}: the checkpoint cannot be written ({error.strerror}); check space, quota and "
            "rights. The one before is unharmed"
        ) from error


class _Parts:
    """Appends parts to an open file, and notes where they are."""

    def __init__(self, file):
        self._file, self.arrays, self.clients = file, {}, {}

    def array(self, name, array):
        """Append one array of numbers."""
        array = np.ascontiguousarray(array)
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        entry = self._append(memoryview(little).cast("B") if little.size else b"")
        self.arrays[name] = [*entry, little.dtype.str, list(array.shape)]

    def client(self, client, data):
        """Append the bytes of one client's memory."""
        self.clients[int(client)] = self._append(data)

    def _append(self, data):
        place = self._file.tell()
        self._file.write(data)
        return [place, len(data), zlib.crc32(data)]


def read(path, with_arrays=True):
    """Return the Checkpoint at `path`, its arrays checked; it has none without `with_arrays`.

    Raises ResultError.
    """
    with _refusing(path), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < len(MAGIC) + TRAILER.size or file.read(len(MAGIC)) != MAGIC:
            raise ValueError("is not a checkpoint of this version")
        file.seek(size - TRAILER.size)
        place, length, crc = TRAILER.unpack(file.read(TRAILER.size))
        if place + length + TRAILER.size != size:
            raise ValueError("was cut short or added to")
        file.seek(place)
        text = file.read(length)
        if zlib.crc32(text) != crc:
            raise ValueError("its index was altered")
        index = json.loads(text)
        parts = [*index["arrays"].values(), *index["clients"].values()]
        if sum(entry[1] for entry in parts) > size:
            raise ValueError("its parts overlap")  # and would be many times the file in memory
        entries = index["arrays"].items() if with_arrays else ()
        arrays = {name: _array(file, entry, path, name) for name, entry in entries}
        clients = {int(client): entry for client, entry in index["clients"].items()}
        return Checkpoint(path, index["facts"], arrays, clients)


def _array(file, entry, path, name):
    *part, dtype, shape = entry
    dtype = number_type(dtype)
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if count * dtype.itemsize != part[1]:
        raise ValueError(f"array {name} does not fit its length")
    return np.frombuffer(_part(file, part, path, name), dtype).reshape(shape).copy()


def _part(file, entry, path, name):
    place, length, crc = entry
    if place < 0 or length < 0 or place + length > os.fstat(file.fileno()).st_size:
        raise ValueError(f"{name} lies outside the file")
    file.seek(place)
    data = file.read(length)
    if zlib.crc32(data) != crc:
        raise ValueError(f"{name} was altered")
    return data


@contextmanager
def _refusing(path):
    """Turn whatever a damaged or foreign file brings about into a ResultError."""
    try:
        yield
    except OSError as error:
        raise ResultError(f"{path}: {error.strerror}; cannot read the checkpoint") from error
    except (
        ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError,
        struct.error, RecursionError,
    ) as error:
        raise ResultError(
            f"{path}: {error}; remove it to start the run again from round 0"
        ) from error

