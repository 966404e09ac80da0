"""Upgrade result files of an older schema to the newest schema."""

import os
from collections.abc import Callable
from itertools import pairwise

import h5py

from fedmpi.errors import ResultError
from fedmpi.record import schema, store
from fedmpi.record.atomic import replacement
from fedmpi.record.lock import locked
from fedmpi.record.paths import Out
from fedmpi.record.reader import DEPTH
from fedmpi.record.source import Source
from fedmpi.record.writer import guarded


def _with_columns_of(version: str) -> Callable[[h5py.File], None]:
    """Return a step that adds the columns new in `version`, full of NaN."""

    def step(file: h5py.File) -> None:
        """Add the columns, and set the version."""
        new = [c for c in schema.APPENDED if schema.SINCE.get(c.path) == version]
        store.add_columns(file, new)
        store.put_attributes(file, {"fedmpi_schema": version})

    return step


def _to_1_4(file: h5py.File) -> None:
    """Add a checksum to every dataset, and compress the datasets that grow."""
    store.rewrite_with_checksums(file)
    store.put_attributes(file, {"fedmpi_schema": "1.4"})


# Schema version -> function(h5py.File) that upgrades a file of that version to the next, and
# sets its fedmpi_schema.
STEPS = {old: _with_columns_of(new) for old, new in pairwise(("1.0", "1.1", "1.2", "1.3"))} | {
    "1.3": _to_1_4, "1.4": _with_columns_of("1.5"), "1.5": _with_columns_of("1.6")
}


def upgrade(path: Out) -> str:
    """Upgrade a file to schema.VERSION by a changed copy and a rename; return the old version.

    Raises ResultError if the file is no result file, damaged, or newer than this fedmpi, or if a
    live run writes it.
    """
    path = os.path.realpath(path)
    old = _version(path)
    if old is None:
        raise ResultError(f"{path}: is HDF5, but not a result of fedmpi (no fedmpi_schema)")
    if old == schema.VERSION:
        return old
    found = old
    if schema.is_newer(found):
        raise ResultError(f"{path}: has schema {found}, newer than the {schema.VERSION} of this "
                          "fedmpi, which cannot change it; install a newer fedmpi")
    if found not in STEPS:
        known = ", ".join([*STEPS, schema.VERSION])
        raise ResultError(f"{path}: schema {found} cannot be upgraded; known are {known}")
    _check(path)
    with (
        locked(path), guarded(path), replacement(path, True) as part, store.changed(part) as file,
    ):
        while found != schema.VERSION:
            STEPS[found](file)
            found = file.attrs["fedmpi_schema"].decode()
    return old


def _version(path: str) -> str | None:
    """Return the schema version of a file, None if it has none."""
    source = Source(path)
    try:
        version: str | None = source.attribute("", "fedmpi_schema")
        return version
    finally:
        source.close()


def _check(path: str) -> None:
    """Raise ResultError unless all values of a file are plain, and in the file itself.

    The steps read them with h5py alone, which would follow links into other files.
    """
    source = Source(path)
    try:
        source.tree("", DEPTH + 1)
    finally:
        source.close()
