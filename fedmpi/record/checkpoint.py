"""The checkpoint: one file that is either whole or absent, and has checksums.

    magic | parts, one after the other | index (JSON) | trailer

A part is the bytes of one array, of one column of the rounds, or of one client's memory. The index
names each part with its place, length and CRC-32. The trailer has the place, length and CRC-32 of
the index. All numbers are little-endian. Nothing in the file is executed, and no length is trusted
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
from fedmpi.record.digest import little_endian, number_type
from fedmpi.record.paths import Out

MAGIC = b"FEDMPI-CHECKPOINT-1\n"
PIECE = 1 << 20  # bytes that are read and checked at a time
TRAILER = struct.Struct("<QQI")  # place of the index, its length, its CRC-32


def path_of(out: Out) -> Path:
    """Return the path of the checkpoint beside the result file `out`."""
    return Path(f"{out}.checkpoint")


def previous_of(out: Out) -> Path:
    """Return the path of the second to last checkpoint of the result file `out`."""
    return Path(f"{out}.checkpoint.previous")


def remove(out: Out) -> None:
    """Remove the checkpoints beside the result file `out`, if any."""
    for path in (previous_of(out), path_of(out)):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ResultError(
                f"{path}: belongs to another run and cannot be removed ({error.strerror}); "
                "remove it, or choose another name for the result"
            ) from error


def newest(out: Out) -> "tuple[Checkpoint | None, str]":
    """Return (newest intact Checkpoint beside the result file `out`, without arrays; "").

    If it is not the last checkpoint written, the second value is the reason instead of "". Returns
    (None, "") if there is no checkpoint. Raises ResultError if none is intact, or one cannot be
    read.
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
        return _sound(before), f"{fault}; the earlier checkpoint is used"
    except DamagedError as error:
        raise DamagedError(f"{fault}; {error.reason}") from error


def _sound(path: Path) -> "Checkpoint":
    """Return the Checkpoint at `path`, without arrays, after checking every byte."""
    found = read(path, with_arrays=False)
    with _refusing(path), open(path, "rb") as file:
        for entry in found.parts:
            for _ in _pieces(file, entry, f"the part at byte {entry[0]}"):
                pass
    return found


def use_previous(out: Out) -> None:
    """Make the second to last checkpoint of the result file `out` the last one.

    This removes a damaged last checkpoint. Otherwise the next checkpoint would keep the damaged
    one as the previous and remove the intact one.
    """
    try:
        rename(previous_of(out), path_of(out))
    except OSError as error:
        raise ResultError(f"{previous_of(out)}: cannot be renamed ({error.strerror})") from error


class Checkpoint:
    """A checkpoint as read: `facts` (plain values) and `arrays` by name; other parts on request."""

    def __init__(
        self, path: Out, facts: Any, arrays: dict[str, AnyArray], clients: Mapping[int, list[int]],
        columns: Mapping[str, list[Any]] = {}, parts: Sequence[list[int]] = (),
    ) -> None:
        self.path, self.facts, self.arrays, self._clients = path, facts, arrays, clients
        self._columns = columns
        self.parts = parts  # [place, length, CRC-32] of all arrays, columns and clients

    @property
    def columns(self) -> list[str]:
        """Paths of the result file's columns whose rows the checkpoint holds."""
        return list(self._columns)

    def column(self, name: str) -> AnyArray:
        """Return the rows of one of these columns."""
        with _refusing(self.path), open(self.path, "rb") as file:
            return _array(file, self._columns[name], name)

    @property
    def clients(self) -> list[int]:
        """Ids of the clients whose memories the checkpoint holds, ascending."""
        return sorted(self._clients)

    def fact(self, name: str, kind: type[Any]) -> Any:
        """Return one of the facts, or raise ResultError if it is not of the type `kind`."""
        value = self.facts.get(name) if isinstance(self.facts, dict) else None
        wrong = type(value) is not kind
        if wrong or (isinstance(value, int | float) and not 0 <= value < 2**60):
            raise ResultError(f"{self.path}: its {name} is {str(value)[:40]!r}; it is damaged")
        return value

    def client(self, client: int) -> bytes:
        """Return the bytes of one client's memory, as they were written."""
        with _refusing(self.path), open(self.path, "rb") as file:
            return _part(file, self._clients[client], f"client {client}")


@contextmanager
def writing(path: Out, facts: Mapping[str, Any]) -> "Iterator[_Parts]":
    """Write a checkpoint atomically: `with writing(path, facts) as put: put.array(name, array)`.

    When the block ends, the file is complete, on the disk, and named `path`, and the last
    checkpoint becomes the previous one. Until then, or if the block raises, both stay as they are.
    `facts` is a dict that JSON can hold. Add parts with `array`, `column` and `client`.
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
            "rights. The earlier checkpoint is unharmed"
        ) from error


class _Parts:
    """Append parts to an open file, and record their places."""

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
        little = little_endian(array)
        entry = self._append(little.data.cast("B") if little.size else b"")
        return [*entry, little.dtype.str, list(little.shape)]

    def client(self, client: int, data: bytes | bytearray) -> None:
        """Append the bytes of one client's memory."""
        self.clients[int(client)] = self._append(data)

    def _append(self, data: bytes | bytearray | memoryview) -> list[int]:
        """Append bytes; return [place, length, CRC-32]."""
        place = self._file.tell()
        self._file.write(data)
        return [place, len(data), zlib.crc32(data)]


def read(path: Out, with_arrays: bool = True) -> Checkpoint:
    """Return the Checkpoint at `path`, with checked arrays if `with_arrays`. Raises ResultError."""
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
        if min(lengths, default=0) < 0 or sum(lengths) > size:  # overlaps could fill the memory
            raise ValueError("its parts have impossible lengths")
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
    """Yield the bytes of a part, up to `most` at a time, and check their CRC-32 at the end."""
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
    """Turn the errors that damaged or foreign files cause into a ResultError or DamagedError."""
    try:
        yield
    except OSError as error:
        raise ResultError(f"{path}: {error.strerror}; cannot read the checkpoint") from error
    except (
        ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError,
        struct.error, RecursionError,
    ) as error:
        raise DamagedError(f"{path}: {error}") from error

