"""Read HDF5 files that nobody vouches for: every size is checked before memory is asked for."""

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
# What may be read out of one file, by any command: this much, and so much more for each byte
# of the file. Real runs are compressed to a tenth or so.
MEMORY = 1 << 28
MEMORY_PER_BYTE = 40
TEXT = 80  # bytes that Python needs for a text beyond those of the file
NAME = 1 << 16  # bytes that count for an entry of a group: few, but they cost time
DEFLATE = 1032  # times that gzip's best makes anything smaller
OVERHEAD = 32  # bytes that a chunk may be longer than its values, and a hundredth
CHUNK = 1 << 16  # bytes of a compressed chunk, which thus becomes 64 MiB at worst


@contextmanager
def reading(path: Out) -> Iterator[None]:
    """Turn whatever h5py raises on a damaged file into a ResultError of one line."""
    try:
        yield
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError,
            MemoryError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ResultError(f"{path}: damaged, or not a result of fedmpi ({reason})") from error


class DiskFile:
    """A file object for h5py, to read alone; closed when nobody holds it any more.

    HDF5 knows the files that it opens itself by their place on the disk, and refuses to open
    what another library of this process has opened in another way. It cannot know these.
    """

    def __init__(self, path: str) -> None:
        """Open `path`, whatever it is, without waiting for the other end of a pipe."""
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
        """Return what the system knows of the file, as os.fstat."""
        return os.fstat(self._file)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to `offset`, from the beginning or the end."""
        self._at = offset + (self.status().st_size if whence == os.SEEK_END else 0)
        return self._at

    def tell(self) -> int:
        """Return the place in the file."""
        return self._at

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes from here on."""
        data = os.pread(self._file, size, self._at)
        self._at += len(data)
        return data


def _close(file: h5py.File, disk: DiskFile) -> None:
    """Close a file of h5py, and the one behind it."""
    file.close()
    disk.close()


class Source:
    """An open HDF5 file in which only plain datasets of this very file can be read.

    Not followed: soft and external links, virtual and external datasets, references, filters but
    gzip and Fletcher-32, objects with two names. All that is read counts against one bound.
    """

    def __init__(self, path: Out) -> None:
        """Open `path`; raises ResultError if it is no readable HDF5 file."""
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
        """Check that the file is one of HDF5, and open it."""
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
        # A file that is open when Python has ended would call it, and crash: this comes before.
        self._end = weakref.finalize(self, _close, self._file, self._disk)

    def close(self) -> None:
        """Close the file."""
        self._end()

    def charge(self, size: int, path: str) -> None:
        """Count `size` bytes that `path` takes in memory; ResultError beyond the file's bound."""
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
        """Return whether the root has something called `path`."""
        with self._guard():
            return path in self._file

    def shape(self, path: str, dtype: str | None = None) -> tuple[int, ...]:
        """Return the shape of the dataset `path`, after all checks but reading it."""
        with self._guard():
            return tuple(self._dataset(path, dtype).shape)

    def read(self, path: str, dtype: str | None = None) -> AnyArray:
        """Return a dataset as an array; of texts (dtype object) where it holds texts.

        dtype is the one it must have: of numpy, "utf-8", or None for any of numbers and texts.
        """
        with self._guard():
            return self._values(path, self._dataset(path, dtype))

    def stored(self, path: str) -> AnyArray:
        """Return a dataset as an array, with texts as they are in the file: UTF-8, of dtype S."""
        with self._guard():
            return self._stored(path, self._dataset(path, None))

    def tree(self, path: str, depth: int) -> dict[str, Any]:
        """Return a group as {name: array}, groups in it (to `depth` levels) as dicts in it."""

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
        """Refuse a closed file, and turn what h5py raises in the block into a ResultError."""
        if not self._file:
            raise ResultError(f"{self.path}: has been closed; open it again")
        with reading(self.path):
            yield

    def _object(self, path: str, kind: Any) -> Any:
        """Return the group or dataset at `path`, walking hard links only."""
        found = self._file
        for name in filter(None, path.split("/")):
            if not isinstance(found, h5py.Group) or name not in found:
                raise KeyError(f"/{path} is missing")
            if not isinstance(found.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"/{path} points elsewhere")
            found = found[name]
            if h5py.h5o.get_info(found.id).rc != 1:
                raise ValueError(f"/{path} has two names")
        if not isinstance(found, kind):
            raise ValueError(f"/{path} is of another kind")
        return found

    def _members(self, path: str) -> tuple[str, ...]:
        """Return the names in a group; they count against the file's bound."""
        found = self._object(path, h5py.Group)
        self.charge(NAME * len(found), path)
        return tuple(found)

    def _dataset(self, path: str, dtype: str | None) -> h5py.Dataset:
        """Return the dataset at `path` after all checks, unread."""
        dataset = self._object(path, h5py.Dataset)
        kind, shape = dataset.dtype.kind, dataset.shape
        if kind not in "biufS" or shape is None:
            raise ValueError(f"/{path} has an unknown type")
        if dtype is not None:
            fits = kind == "S" if dtype == "utf-8" else dataset.dtype == np.dtype(dtype)
            if not fits:
                raise ValueError(f"/{path} is {dataset.dtype}, must be {dtype}")
        options = dataset.id.get_create_plist()
        if options.get_layout() not in LAYOUTS or options.get_external_count():
            raise ValueError(f"/{path} takes its values from another file")
        filters = {options.get_filter(i)[0] for i in range(options.get_nfilters())}
        if filters - FILTERS:
            raise ValueError(f"/{path} is stored in an unknown way; h5repack -f NONE undoes that")
        declared, stored = dataset.nbytes, dataset.id.get_storage_size()
        smaller = DEFLATE if h5py.h5z.FILTER_DEFLATE in filters else 1
        if smaller > 1 and math.prod(options.get_chunk()) * dataset.dtype.itemsize > CHUNK:
            raise ValueError(f"/{path} is compressed in too large pieces")
        if declared and not (stored <= self.size and declared <= stored * smaller):
            raise ValueError(f"/{path} declares more values than the file holds")
        return dataset

    def _values(self, path: str, dataset: h5py.Dataset) -> AnyArray:
        """Return a checked dataset as an array, of dtype object where it holds texts."""
        text = dataset.dtype.kind == "S"
        self.charge(TEXT * dataset.size if text else 0, path)
        values = self._stored(path, dataset)
        if not text:
            return values
        flat = [text.decode() for text in values.ravel().tolist()]
        return np.array(flat, dtype=object).reshape(dataset.shape)

    def _stored(self, path: str, dataset: h5py.Dataset) -> AnyArray:
        """Return a checked dataset as an array of the type that it has in the file."""
        self.charge(dataset.nbytes, path)
        if dataset.compression:
            self._check_chunks(path, dataset)
        return np.asarray(dataset[()])

    def _check_chunks(self, path: str, dataset: h5py.Dataset) -> None:
        """Refuse chunks that are no smaller compressed, and become any size when unpacked."""
        most = math.prod(dataset.chunks) * dataset.dtype.itemsize * 1.01 + OVERHEAD
        large: list[int] = []
        dataset.id.chunk_iter(lambda chunk: large.append(chunk.size) if chunk.size > most else None)
        if large:
            raise ValueError(f"/{path} has a compressed piece of {large[0]} bytes")
