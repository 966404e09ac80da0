"""The checkpoint: one file that is whole or not there, and checks itself.

    magic | parts, one after the other | index (JSON) | trailer

A part is the bytes of one array, of one column of the rounds, or of one client's memory. The index
names each part with its place, length and CRC-32; the trailer says where the index is, and its
CRC-32. All numbers are little-endian. Nothing in the file is executed, and no length is believed
before it is checked.

The last two checkpoints are kept: OUT.checkpoint, and the one before as OUT.checkpoint.previous.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fedmpi.arrays import AnyArray
from fedmpi.errors import DamagedError, ResultError
from fedmpi.record.atomic import rename, replacement
from fedmpi.record.digest import number_type
from fedmpi.record.paths import Out

MAGIC = b"FEDMPI-CHECKPOINT-1\n"
PIECE = 1 << 20  # bytes that are looked at together
TRAILER = struct.Struct("<QQI")  # place of the index, its length, its CRC-32


def path_of(out: Out) -> Path:
    """Return the path of the checkpoint beside the result file `out`."""
    return Path(f"{out}.checkpoint")


def previous_of(out: Out) -> Path:
    """Return the path of the checkpoint before the last one of the result file `out`."""
    return Path(f"{out}.checkpoint.previous")


def remove(out: Out) -> None:
    """Remove the checkpoints beside the result file `out`, if there are any."""
    for path in (previous_of(out), path_of(out)):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ResultError(
                f"{path}: is of another run and cannot be removed ({error.strerror}); "
                "remove it, or choose another name for the result"
            ) from error


def newest(out: Out) -> "tuple[Checkpoint | None, str]":
    """Return (Checkpoint without arrays, "") of the newest whole one beside the result file `out`.

    In the place of "" stands why it is not the last one that was written. Returns (None, "") if
    there is none at all. Raises ResultError if none is whole, or one cannot be read.
    """
    last, before = path_of(out), previous_of(out)
    if not before.exists():
        return (_sound(last), "") if last.exists() else (None, "")
    fault = f"{last}: is missing"
    if last.exists():
        try:
            return _sound(last), ""
        except DamagedError as error:
            fault = error.reason
    try:
        return _sound(before), f"{fault}; the checkpoint before it is used"
    except DamagedError as error:
        raise DamagedError(f"{fault}; {error.reason}") from error


def _sound(path: Path) -> "Checkpoint":
    """Return the Checkpoint at `path`, without arrays, after a look at every byte."""
    found = read(path, with_arrays=False)
    with _refusing(path), open(path, "rb") as file:
        for entry in found.parts:
            for _ in _pieces(file, entry, f"what lies at byte {entry[0]}"):
                pass
    return found


def use_previous(out: Out) -> None:
    """Make the checkpoint before the last one of the result file `out` the last one.

    This removes a damaged last checkpoint; the next one would otherwise push out the whole one.
    """
    try:
        rename(previous_of(out), path_of(out))
    except OSError as error:
        raise ResultError(f"{previous_of(out)}: cannot be renamed ({error.strerror})") from error


class Checkpoint:
    """A checkpoint as read: `facts` (plain values), `arrays` by name, the rest on request."""

    def __init__(
        self, path: Out, facts: Any, arrays: dict[str, AnyArray], clients: Mapping[int, list[int]],
        columns: Mapping[str, list[Any]] = {}, parts: Sequence[list[int]] = (),
    ) -> None:
        self.path, self.facts, self.arrays, self._clients = path, facts, arrays, clients
        self._columns = columns
        self.parts = parts  # [place, length, CRC-32] of all arrays, columns and clients

    @property
    def columns(self) -> list[str]:
        """Paths of the columns of the result file of which the checkpoint holds the rows."""
        return list(self._columns)

    def column(self, name: str) -> AnyArray:
        """Return the rows of one of these columns."""
        with _refusing(self.path), open(self.path, "rb") as file:
            return _array(file, self._columns[name], name)

    @property
    def clients(self) -> list[int]:
        """Numbers of the clients whose memory the checkpoint holds, ascending."""
        return sorted(self._clients)

    def fact(self, name: str, kind: type[Any]) -> Any:
        """Return one of the facts, or raise ResultError if it is not of the type `kind`."""
        value = self.facts.get(name) if isinstance(self.facts, dict) else None
        wrong = type(value) is not kind
        if wrong or (isinstance(value, int | float) and not 0 <= value < 2**60):
            raise ResultError(f"{self.path}: its {name} is {str(value)[:40]!r}; it is damaged")
        return value

    def client(self, client: int) -> bytes:
        """Return the bytes that were written for one client."""
        with _refusing(self.path), open(self.path, "rb") as file:
            return _part(file, self._clients[client], f"client {client}")


@contextmanager
def writing(path: Out, facts: Mapping[str, Any]) -> "Iterator[_Parts]":
    """Write a checkpoint whole: `with writing(path, facts) as put: put.array(name, array)`.

    The file appears under `path` when the block ends, on disk and complete; the one before becomes
    the previous one. Until then, and if the block raises, both stay. `facts` is a dict that JSON
    can hold. Put arrays, columns and clients with `array`, `column` and `client`.
    """
    try:
        with replacement(path) as part, open(part, "wb") as file:
            file.write(MAGIC)
            put = _Parts(file)
            yield put
            index = json.dumps({"facts": facts, "arrays": put.arrays, "columns": put.columns,
                                "clients": put.clients})
            place = file.tell()
            file.write(index.encode())
            crc = zlib.crc32(index.encode())
            file.write(TRAILER.pack(place, file.tell() - place, crc))
            file.flush()
            os.fsync(file.fileno())
            if os.path.exists(path):
                os.replace(path, f"{path}.previous")
    except OSError as error:
        raise ResultError(
            f"{path}: the checkpoint cannot be written ({error.strerror}); check space, quota and "
            "rights. The one before is unharmed"
        ) from error


class _Parts:
    """Appends parts to an open file, and notes where they are."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.arrays: dict[str, list[Any]] = {}
        self.columns: dict[str, list[Any]] = {}
        self.clients: dict[int, list[int]] = {}

    def array(self, name: str, array: AnyArray) -> None:
        """Append one array of numbers."""
        self.arrays[name] = self._numbers(array)

    def column(self, name: str, rows: AnyArray) -> None:
        """Append the rows of one column of the result file."""
        self.columns[name] = self._numbers(rows)

    def _numbers(self, array: AnyArray) -> list[Any]:
        """Append an array, little-endian; return its entry."""
        array = np.asarray(array, order="C")  # which leaves a single number without an axis
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        entry = self._append(little.data.cast("B") if little.size else b"")
        return [*entry, little.dtype.str, list(array.shape)]

    def client(self, client: int, data: bytes | bytearray) -> None:
        """Append the bytes of one client's memory."""
        self.clients[int(client)] = self._append(data)

    def _append(self, data: bytes | bytearray | memoryview) -> list[int]:
        """Append bytes; return [place, length, CRC-32]."""
        place = self._file.tell()
        self._file.write(data)
        return [place, len(data), zlib.crc32(data)]


def read(path: Out, with_arrays: bool = True) -> Checkpoint:
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
        text = os.pread(file.fileno(), length, place)
        if zlib.crc32(text) != crc:
            raise ValueError("its index was altered")
        index = json.loads(text)
        columns = index.get("columns", {})  # earlier versions kept none
        named = index["arrays"], columns, index["clients"]
        parts = [entry[:3] for entries in named for entry in entries.values()]
        lengths = [length for _, length, _ in parts]
        if min(lengths, default=0) < 0 or sum(lengths) > size:  # many times the file in memory
            raise ValueError("its parts have lengths that cannot be")
        entries = index["arrays"] if with_arrays else {}
        arrays = {name: _array(file, entry, name) for name, entry in entries.items()}
        clients = {int(client): entry for client, entry in index["clients"].items()}
        return Checkpoint(path, index["facts"], arrays, clients, columns, parts)


def _array(file: BinaryIO, entry: list[Any], name: str) -> AnyArray:
    """Return an array; `entry` is [place, length, CRC-32, dtype, shape]."""
    *part, dtype, shape = entry
    dtype = number_type(dtype)
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if count * dtype.itemsize != part[1]:
        raise ValueError(f"array {name} does not fit its length")
    return np.frombuffer(_part(file, part, name), dtype).reshape(shape).copy()


def _part(file: BinaryIO, entry: list[int], name: str) -> bytes:
    """Return the bytes of a part; `entry` is [place, length, CRC-32]."""
    return b"".join(_pieces(file, entry, name, entry[1]))


def _pieces(
    file: BinaryIO, entry: list[int], name: str, most: int = PIECE
) -> Iterator[bytes]:
    """Yield the bytes of a part, at most so many at a time, and compare their CRC-32 at the end."""
    place, left, crc = entry
    if place < 0 or left < 0 or place + left > os.fstat(file.fileno()).st_size:
        raise ValueError(f"{name} lies outside the file")
    file.seek(place)
    found = 0
    while left:
        data = file.read(min(left, most))
        if not data:
            break
        found, left = zlib.crc32(data, found), left - len(data)
        yield data
    if found != crc:
        raise ValueError(f"{name} was altered")


@contextmanager
def _refusing(path: Out) -> Iterator[None]:
    """Turn whatever a damaged or foreign file brings about into a ResultError or DamagedError."""
    try:
        yield
    except OSError as error:
        raise ResultError(f"{path}: {error.strerror}; cannot read the checkpoint") from error
    except (
        ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError,
        struct.error, RecursionError,
    ) as error:
        raise DamagedError(f"{path}: {error}") from error

