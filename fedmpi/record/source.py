"""Read untrusted HDF5 files: every size is checked before memory is allocated."""

import math
import os
import stat
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from fedmpi.arrays import AnyArray
from fedmpi.errors import ResultError
from fedmpi.record.paths import Out

ATTRIBUTE_BYTES = 4096
LAYOUTS = (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED)
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32}
SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Any command may read MEMORY bytes out of one file, plus MEMORY_PER_BYTE for each byte of the
# file. Files of real runs are compressed to about a tenth.
MEMORY = 1 << 28
MEMORY_PER_BYTE = 40
TEXT = 80  # bytes that Python needs for a text, besides its bytes in the file
NAME = 1 << 16  # bytes charged for an entry of a group, which takes few bytes but much time
DEFLATE = 1032  # largest factor by which gzip can compress anything
OVERHEAD = 32  # bytes, besides a hundredth, by which a chunk may be longer than its values
CHUNK = 1 << 16  # most bytes in a compressed chunk, which unpacks to 64 MiB at worst


@contextmanager
def reading(path: Out) -> Iterator[None]:
    """Turn any error that h5py raises on a damaged file into a ResultError of one line."""
    try:
        yield
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError,
            MemoryError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ResultError(f"{path}: damaged, or not a result of fedmpi ({reason})") from error


class DiskFile:
    """A read-only file object for h5py, which closes the file when it is deleted.

    HDF5 identifies the files that it opens itself by their place on the disk, and refuses to open
    a file that another library in this process has opened in another mode. It cannot identify
    these files.
    """

    def __init__(self, path: str) -> None:
        """Open `path`, which may also be a pipe, without waiting for its other end."""
        self._file = -1
        self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._at = 0

    def __del__(self) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file, if it is open."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def status(self) -> os.stat_result:
        """Return the status of the file, as from os.fstat."""
        return os.fstat(self._file)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to `offset` from the beginning or the end of the file; return the place."""
        self._at = offset + (self.status().st_size if whence == os.SEEK_END else 0)
        return self._at

    def tell(self) -> int:
        """Return the place in the file."""
        return self._at

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, with zeros beyond the end of the file.

        For a shorter answer h5py would give HDF5 arbitrary bytes.
        """
        data = os.pread(self._file, size, self._at)
        self._at += len(data)
        return data.ljust(size, b"\0")


def _close(file: h5py.File, disk: DiskFile) -> None:
    """Close an h5py file and the DiskFile behind it."""
    file.close()
    disk.close()


class Source:
    """An open HDF5 file that allows reading only plain datasets stored in the file itself.

    Refused are soft and external links, virtual and external datasets, references, filters other
    than gzip and Fletcher-32, and objects with two names. All bytes read count against one limit.
    """

    def __init__(self, path: Out) -> None:
        """Open `path`. Raises ResultError if it is not a readable HDF5 file."""
        self.path = os.fspath(path)
        if not self.path:
            raise ResultError("the path of the result file is empty; name a file, such as out.h5")
        try:
            self._disk = DiskFile(self.path)
        except FileNotFoundError:
            raise ResultError(f"{self.path}: no such file") from None
        except OSError as error:
            raise ResultError(f"{self.path}: cannot be read ({error.strerror})") from error
        try:
            self._open()
        except BaseException:
            self._disk.close()
            raise

    def _open(self) -> None:
        """Check that the file is an HDF5 file, and open it with h5py."""
        status = self._disk.status()
        if stat.S_ISDIR(status.st_mode):
            raise ResultError(f"{self.path}: is a folder, not a result file; name files in it")
        if not stat.S_ISREG(status.st_mode):
            raise ResultError(f"{self.path}: is a device, pipe or socket, not a result file")
        self.size = status.st_size
        self._left = MEMORY + MEMORY_PER_BYTE * self.size
        with reading(self.path):
            if self._disk.read(len(SIGNATURE)) != SIGNATURE:
                raise ResultError(f"{self.path}: is not an HDF5 file, so not a result of fedmpi")
            self._file = h5py.File(self._disk, "r")
        self._groups: dict[str, h5py.Group] = {"": self._file}  # that have passed all checks
        # A file still open after Python has ended would call into Python and crash, so close it.
        self._end = weakref.finalize(self, _close, self._file, self._disk)

    def close(self) -> None:
        """Close the file."""
        self._end()

    def charge(self, size: int, path: str) -> None:
        """Charge `size` bytes of memory for `path`; raise ResultError beyond the file's limit."""
        self._left -= size
        if self._left < 0:
            most = (MEMORY + MEMORY_PER_BYTE * self.size) >> 20
            raise ResultError(f"{self.path}: damaged, with /{path} it would take more than the "
                              f"{most} MiB that a file of its size may take")

    def attribute(self, path: str, name: str, number: bool = False) -> Any:
        """Return the text (or whole number) of an attribute of group `path`, None if absent."""
        with self._guard():
            attributes = self._object(path, h5py.Group).attrs
            if name not in attributes:
                return None
            handle = attributes.get_id(name)
            if handle.dtype.kind not in ("iu" if number else "S") or handle.shape != ():
                raise ValueError(f"attribute {name} has an unknown type")
            if handle.get_storage_size() > ATTRIBUTE_BYTES:
                raise ValueError(f"attribute {name} is too long")
            value = attributes[name]
            return int(value) if number else value.decode()

    def names(self, path: str) -> tuple[str, ...]:
        """Return the names in group `path`, in the order of the file."""
        with self._guard():
            return self._members(path)

    def has(self, path: str) -> bool:
        """Return whether the file has a group or dataset `path`."""
        with self._guard():
            return path in self._file

    def shape(self, path: str, dtype: str | None = None) -> tuple[int, ...]:
        """Return the shape of the dataset `path`, which passes all checks but is not read."""
        with self._guard():
            return tuple(self._dataset(path, dtype).shape)

    def read(self, path: str, dtype: str | None = None) -> AnyArray:
        """Return a dataset as an array, with dtype object if it holds texts.

        `dtype` is the dtype that it must have: a numpy dtype, "utf-8", or None for any numbers or
        texts.
        """
        with self._guard():
            return self._values(path, self._dataset(path, dtype))

    def stored(self, path: str) -> AnyArray:
        """Return a dataset as an array, with texts as stored: UTF-8 bytes of dtype S."""
        with self._guard():
            return self._stored(path, self._dataset(path, None))

    def tree(self, path: str, depth: int) -> dict[str, Any]:
        """Return a group as {name: array}, with groups in it, up to `depth` levels, as dicts."""

        def group(path: str, depth: int) -> dict[str, Any]:
            """Return one group of the tree."""
            if depth == 0:
                raise ValueError(f"/{path} is nested too deeply")
            found: dict[str, Any] = {}
            for name in self._members(path):
                inner = f"{path}/{name}"
                if isinstance(self._object(inner, (h5py.Group, h5py.Dataset)), h5py.Group):
                    found[name] = group(inner, depth - 1)
                else:
                    found[name] = self._values(inner, self._dataset(inner, None))
            return found

        with self._guard():
            return group(path, depth)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Refuse a closed file, and turn errors of h5py in the block into a ResultError."""
        if not self._file:
            raise ResultError(f"{self.path}: has been closed; open it again")
        with reading(self.path):
            yield

    def _object(self, path: str, kind: Any) -> Any:
        """Return the group or dataset at `path`, following hard links only."""
        found = self._groups.get(path)
        if found is None:
            above, _, name = path.rpartition("/")
            group = self._object(above, h5py.Group)
            link = group.get(name, getlink=True)
            if link is None:
                raise KeyError(f"/{path} is missing")
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"/{path} points elsewhere")
            found = group[name]
            if h5py.h5o.get_info(found.id).rc != 1:
                raise ValueError(f"/{path} has two names")
            if isinstance(found, h5py.Group):
                self._groups[path] = found
        if not isinstance(found, kind):
            raise ValueError(f"/{path} is of another kind")
        return found

    def _members(self, path: str) -> tuple[str, ...]:
        """Return the names in a group, which count against the file's limit."""
        found = self._object(path, h5py.Group)
        self.charge(NAME * len(found), path)
        return tuple(found)

    def _dataset(self, path: str, dtype: str | None) -> h5py.Dataset:
        """Return the dataset at `path` after all checks, without reading it."""
        dataset = self._object(path, h5py.Dataset)
        found, shape = dataset.dtype, dataset.shape  # h5py computes them at every access
        if found.kind not in "biufS" or shape is None:
            raise ValueError(f"/{path} has an unknown type")
        if dtype is not None:
            fits = found.kind == "S" if dtype == "utf-8" else found == np.dtype(dtype)
            if not fits:
                raise ValueError(f"/{path} is {found}, must be {dtype}")
        options = dataset.id.get_create_plist()
        if options.get_layout() not in LAYOUTS or options.get_external_count():
            raise ValueError(f"/{path} takes its values from another file")
        filters = {options.get_filter(i)[0] for i in range(options.get_nfilters())}
        if filters - FILTERS:
            raise ValueError(f"/{path} is stored in an unknown way; h5repack -f NONE undoes that")
        declared = math.prod(shape) * found.itemsize
        stored = dataset.id.get_storage_size()
        smaller = DEFLATE if h5py.h5z.FILTER_DEFLATE in filters else 1
        if smaller > 1 and math.prod(options.get_chunk()) * found.itemsize > CHUNK:
            raise ValueError(f"/{path} is compressed in too large pieces")
        if declared and not (stored <= self.size and declared <= stored * smaller):
            raise ValueError(f"/{path} declares more values than the file holds")
        return dataset

    def _values(self, path: str, dataset: h5py.Dataset) -> AnyArray:
        """Return a checked dataset as an array, with dtype object if it holds texts."""
        text = dataset.dtype.kind == "S"
        self.charge(TEXT * dataset.size if text else 0, path)
        values = self._stored(path, dataset)
        if not text:
            return values
        flat = [text.decode() for text in values.ravel().tolist()]
        return np.array(flat, dtype=object).reshape(dataset.shape)

    def _stored(self, path: str, dataset: h5py.Dataset) -> AnyArray:
        """Return a checked dataset as an array with the dtype that it has in the file."""
        self.charge(dataset.nbytes, path)
        if dataset.compression:
            self._check_chunks(path, dataset)
        return np.asarray(dataset[()])

    def _check_chunks(self, path: str, dataset: h5py.Dataset) -> None:
        """Refuse compressed chunks larger than their values, which may unpack to any size."""
        most = math.prod(dataset.chunks) * dataset.dtype.itemsize * 1.01 + OVERHEAD
        large: list[int] = []
        dataset.id.chunk_iter(lambda chunk: large.append(chunk.size) if chunk.size > most else None)
        if large:
            raise ValueError(f"/{path} has a compressed piece of {large[0]} bytes")
