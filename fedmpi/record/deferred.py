"""A file that reports the first failed write when it is closed.

HDF5 cannot close a file after a failed write, and then crashes the interpreter at exit. So if the
disk is full, writes appear to succeed until HDF5 has closed the file.
"""

import os
from collections.abc import Callable
from typing import Any


class DeferringFile:
    """A file object for h5py whose `close` raises the first error of a write, if any."""

    def __init__(self, path: str | os.PathLike[str], new: bool) -> None:
        """Open `path` for reading and writing; create or empty it if `new`."""
        flags = os.O_RDWR | (os.O_CREAT | os.O_TRUNC if new else 0)
        self._file = os.open(path, flags, 0o666)
        self._at = 0
        self._error: OSError | None = None

    def close(self) -> None:
        """Sync the file to the disk, close it, and raise the first error, if any."""
        self._try(os.fsync)
        os.close(self._file)
        if self._error:
            raise self._error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to `offset` from the beginning or the end of the file; return the place."""
        self._at = offset + (os.fstat(self._file).st_size if whence == os.SEEK_END else 0)
        return self._at

    def tell(self) -> int:
        """Return the place in the file."""
        return self._at

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, with zeros beyond the end of the file.

        HDF5 reads ahead into space that it has allocated and not yet written, and h5py would give
        it arbitrary bytes for a shorter answer.
        """
        return os.pread(self._file, size, self._at).ljust(size, b"\0")

    def write(self, data: bytes) -> None:
        """Write all of `data`."""
        left = memoryview(data)
        while left and not self._error:
            done = self._try(os.pwrite, left, self._at) or 0
            self._at += done
            left = left[done:]

    def truncate(self, size: int) -> None:
        """Set the size of the file."""
        self._try(os.ftruncate, size)

    def flush(self) -> None:
        """Do nothing, since nothing is buffered here."""

    def _try(self, action: Callable[..., Any], *arguments: object) -> Any:
        """Apply `action` to the file, unless an error came before; keep the first error."""
        if self._error is None:
            try:
                return action(self._file, *arguments)
            except OSError as error:
                self._error = error
        return None
