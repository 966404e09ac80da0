"""Bring result files of an older schema to the newest one."""

import os

from fedmpi.errors import ResultError
from fedmpi.record import schema, store
from fedmpi.record.source import Source
from fedmpi.record.whole import replacement
from fedmpi.record.writer import guarded


def _to_1_1(file):
    """Add the column of inference FLOPs, which nobody counted."""
    new = [c for c in schema.ROUNDS if schema.SINCE.get(c.path) == "1.1"]
    store.add_columns(file, new)
    store.put_attributes(file, {"fedmpi_schema": "1.1"})


def _to_1_2(file):
    """Add the columns of energy and privacy, which nobody counted."""
    new = [c for c in schema.ROUNDS + schema.CLIENTS if schema.SINCE.get(c.path) == "1.2"]
    store.add_columns(file, new)
    store.put_attributes(file, {"fedmpi_schema": "1.2"})


# Schema version -> function(h5py.File) that changes such a file to the next version and sets
# its fedmpi_schema.
STEPS = {"1.0": _to_1_1, "1.1": _to_1_2}


def upgrade(path):
    """Bring the file to schema.VERSION by a changed copy and a rename; return the old version.

    Raises ResultError if the file is no result, damaged, or newer than this fedmpi.
    """
    path = os.path.realpath(path)
    source = Source(path)
    old = found = source.attribute("", "fedmpi_schema")
    source.close()
    if found == schema.VERSION:
        return found
    if found not in STEPS:
        known = ", ".join([*STEPS, schema.VERSION])
        raise ResultError(f"{path}: schema {found} cannot be upgraded; known are {known}")
    with guarded(path), replacement(path, True) as part, store.changed(part) as file:
        while found != schema.VERSION:
            STEPS[found](file)
            found = file.attrs["fedmpi_schema"].decode()
    return old
