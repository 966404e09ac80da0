"""Bytes stored on the node's disk, in a file without a name that ends with the process.

However the process ends, the system frees the space, and no file is left behind.
"""

import tempfile
import weakref
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import BinaryIO

from fedmpi.errors import FedmpiError


class Spill:
    """Bytes by key, in a nameless file in `folder` (default: the system's temporary folder).

    Freed space is reused for values of about the same size. The file is therefore at most a
    quarter larger than the sum, over these size classes, of the most bytes held at one time.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder, self._end = folder, 0
        self._file: BinaryIO | None = None
        self._places: dict[Hashable, tuple[int, int]] = {}  # key -> (place, length)
        self._free: dict[int, list[int]] = {}  # room -> places where that many bytes are free

    def __contains__(self, key: Hashable) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._places)

    def put(self, key: Hashable, data: bytes) -> None:
        """Store the bytes of a new key. Raises FedmpiError if they cannot be written."""
        room = _room(len(data))
        free = self._free.get(room)
        place = free.pop() if free else self._end
        self._end = max(self._end, place + room)
        try:
            file = self._opened()
            file.seek(place)
            file.write(data)
            file.flush()
        except OSError as error:
            folder = self._folder or tempfile.tempdir or "temporary folder"
            raise FedmpiError(
                f"{folder}: cannot store {len(data):,} more bytes of client memories "
                f"({error.strerror}); set TMPDIR to a larger disk of the node's own"
            ) from error
        self._places[key] = place, len(data)

    def get(self, key: Hashable) -> bytes:
        """Return the bytes of a key without removing them."""
        place, length = self._places[key]
        file = self._opened()
        file.seek(place)
        return file.read(length)

    def pop(self, key: Hashable) -> bytes:
        """Return the bytes of a key, and free their space."""
        data = self.get(key)
        place, length = self._places.pop(key)
        self._free.setdefault(_room(length), []).append(place)
        return data

    def _opened(self) -> BinaryIO:
        """Return the file, which is created on first use."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
            weakref.finalize(self, self._file.close)
        return self._file


def _room(size: int) -> int:
    """Return the bytes reserved for `size`, rounded up to three significant binary digits."""
    shift = max(size.bit_length() - 3, 0)
    return -(-size >> shift) << shift
