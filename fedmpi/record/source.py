"""Read HDF5 files that nobody vouches for: every size is checked before memory is asked for."""

import math
import os
from contextlib import contextmanager

import h5py
import numpy as np

from fedmpi.errors import ResultError

ATTRIBUTE_BYTES = 4096
LAYOUTS = (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED)


@contextmanager
def reading(path):
    """Turn whatever h5py raises on a damaged file into a ResultError of one line."""
    try:
        yield
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError,
            MemoryError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ResultError(f"{path}: damaged, or no result of fedmpi ({reason})") from error


class Source:
    """An open HDF5 file in which only plain datasets of this very file can be read.

    Not followed: soft and external links, virtual and external datasets, filters, references.
    A dataset may not declare more bytes than the file stores for it, nor than the file is long.
    """

    def __init__(self, path):
        """Open `path`; raises ResultError if it is no readable HDF5 file."""
        self.path = os.fspath(path)
        if not os.path.exists(self.path):
            raise ResultError(f"{self.path}: no such file")
        if os.path.isdir(self.path):
            raise ResultError(f"{self.path}: is a folder, not a result file")
        try:
            self.size = os.path.getsize(self.path)
            with open(self.path, "rb"):
                pass
        except OSError as error:
            raise ResultError(f"{self.path}: cannot be read ({error.strerror})") from error
        if not h5py.is_hdf5(self.path):
            raise ResultError(f"{self.path}: is not an HDF5 file, so no result of fedmpi")
        with reading(self.path):
            self._file = h5py.File(self.path, "r", locking=False)

    def close(self):
        """Close the file."""
        self._file.close()

    def attribute(self, path, name, number=False):
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

    def names(self, path):
        """Return the names in group `path`, in the order of the file."""
        with self._guard():
            return tuple(self._object(path, h5py.Group))

    def has(self, path):
        """Return whether the root has something called `path`."""
        with self._guard():
            return path in self._file

    def shape(self, path, dtype=None):
        """Return the shape of the dataset `path`, after all checks but reading it."""
        with self._guard():
            return self._dataset(path, dtype).shape

    def read(self, path, dtype=None):
        """Return a dataset as an array; of texts (dtype object) where it holds texts.

        dtype is the one it must have: of numpy, "utf-8", or None for any of numbers and texts.
        """
        with self._guard():
            return values_of(self._dataset(path, dtype))

    def tree(self, path, depth):
        """Return a group as {name: array}, groups in it (to `depth` levels) as dicts in it.

        All arrays together may not be larger than the file: one dataset may have many names.
        """
        left = self.size

        def group(path, depth):
            nonlocal left
            if depth == 0:
                raise ValueError(f"/{path} is nested too deeply")
            found = {}
            for name in self._object(path, h5py.Group):
                inner = f"{path}/{name}"
                if isinstance(self._object(inner, (h5py.Group, h5py.Dataset)), h5py.Group):
                    found[name] = group(inner, depth - 1)
                    continue
                dataset = self._dataset(inner, None)
                left -= dataset.nbytes
                if left < 0:
                    raise ValueError(f"/{path} is larger than the file")
                found[name] = values_of(dataset)
            return found

        with self._guard():
            return group(path, depth)

    @contextmanager
    def _guard(self):
        if not self._file:
            raise ResultError(f"{self.path}: has been closed; open it again")
        with reading(self.path):
            yield

    def _object(self, path, kind):
        """Return the group or dataset at `path`, walking hard links only."""
        found = self._file
        for name in filter(None, path.split("/")):
            if not isinstance(found, h5py.Group) or name not in found:
                raise KeyError(f"/{path} is missing")
            if not isinstance(found.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"/{path} points elsewhere")
            found = found[name]
        if not isinstance(found, kind):
            raise ValueError(f"/{path} is of another kind")
        return found

    def _dataset(self, path, dtype):
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
        if filters - {h5py.h5z.FILTER_FLETCHER32}:  # checksums make a dataset no smaller
            raise ValueError(f"/{path} is compressed; h5repack -f NONE undoes that")
        declared = math.prod(shape) * dataset.dtype.itemsize
        if declared and not declared <= dataset.id.get_storage_size() <= self.size:
            raise ValueError(f"/{path} declares more values than the file holds")
        return dataset


def values_of(dataset):
    """Return a checked h5py dataset as an array, of dtype object where it holds texts."""
    values = dataset[()]
    if dataset.dtype.kind != "S":
        return np.asarray(values)
    flat = [bytes(text).decode() for text in np.atleast_1d(values).ravel()]
    return np.array(flat, dtype=object).reshape(dataset.shape)
