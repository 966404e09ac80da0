"""Store the parts of a result file in HDF5; all code that changes such files is here."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from fedmpi.arrays import AnyArray
from fedmpi.errors import ResultError
from fedmpi.record import schema
from fedmpi.record.deferred import DeferringFile
from fedmpi.record.digest import little_endian
from fedmpi.record.paths import Out
from fedmpi.record.schema import Column
from fedmpi.record.text import text_array

# Readable with HDF5 1.10 (2016) and later. Metadata have checksums, so damage is detected.
FORMAT = ("v110", "v110")
# Reuse the space of chunks that grew. Without this, a file with many commits is many times larger.
SPACE = {"fs_strategy": "fsm", "fs_persist": True}
CHUNK = 32_768  # bytes of a chunk; a chunk with few rows compresses to few bytes
COMPACT = 32_768  # largest dataset in bytes that is stored with the metadata and their checksum
WIDEST = 4096  # most values of a row in one chunk
PACKED = {"compression": "gzip", "compression_opts": 4}
# The axis of /rounds has the round numbers as its scale. Datasets with two axes have labels
# instead, since netCDF readers such as xarray's refuse a dataset with a scale on only one of them.
SCALES = dict.fromkeys(("rounds", "metrics"), "rounds/round")
LABELS = {"[R, ranks]": ("round", "rank"), "[R, L]": ("round", "layer")}
CHUNK_ROWS = dict.fromkeys(("rounds", "phases", "layers", "metrics"), 64)
CHUNK_ROWS |= {"events": 4, "clients": 4096}


@contextmanager
def changed(path: Out, new: bool = False) -> Iterator[h5py.File]:
    """Yield an h5py file for changing `path`, or a `new` file; no other process may have it open.

    When the block ends, the file is closed and on the disk. Raises OSError if it cannot be written.
    """
    disk = DeferringFile(path, new)
    try:
        with h5py.File(disk, "w" if new else "r+", libver=FORMAT, **SPACE if new else {}) as file:
            yield file
    finally:
        disk.close()


def put_attributes(file: h5py.Group, values: Mapping[str, Any]) -> None:
    """Set attributes of a file or group, {name: text or whole number}."""
    for name, value in values.items():
        array = text_array(value) if isinstance(value, str) else np.asarray(value, "<i8")
        file.attrs.create(name, array, dtype=array.dtype)


def put(file: h5py.File, column: Column, values: Any) -> None:
    """Write the dataset of a `column` that does not grow."""
    array = text_array(values) if column.dtype == schema.TEXT else np.asarray(values, column.dtype)
    _describe(_fixed(file, column.path, array), column.unit, column.meaning)


def _fixed(group: h5py.Group, name: str, array: AnyArray, packed: bool = True) -> h5py.Dataset:
    """Create a dataset that does not grow, with a checksum, compressed if large and `packed`.

    A large value without axes becomes an array of one element.
    """
    if array.nbytes <= COMPACT:
        plain = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plain.set_layout(h5py.h5d.COMPACT)
        scalar = h5py.h5s.create(h5py.h5s.SCALAR)
        space = h5py.h5s.create_simple(array.shape) if array.shape else scalar
        kind = h5py.h5t.py_create(array.dtype, logical=True)
        group[name] = made = h5py.Dataset(h5py.h5d.create(group.id, None, kind, space, plain))
        made[...] = array
        return made
    array = np.atleast_1d(array)
    item = array.dtype.itemsize
    how = PACKED if packed and item <= COMPACT else {}
    chunks = _chunks(array.shape, COMPACT // item)
    return group.create_dataset(name, data=array, chunks=chunks, fletcher32=True, **how)


def _chunks(shape: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Return the shape of chunks of at most `most` values that span the last axes if possible."""
    chunks: list[int] = []
    for length in reversed(shape):
        chunks.insert(0, max(1, min(length, most)))
        most //= chunks[0]
    return tuple(chunks)


def put_fixed(
    file: h5py.File, toml: str, resolved: Mapping[str, Any], counts: AnyArray,
    layer_names: Iterable[str],
) -> None:
    """Write the datasets that are known before the first round."""
    if np.ndim(counts) != 2:
        raise ResultError(f"partition/counts has {np.ndim(counts)} axes, must have 2")
    values = {
        "config/toml": toml,
        "config/resolved": _json(resolved),
        "partition/counts": counts,
        "layers/names": list(layer_names),
    }
    for column in schema.FIXED:
        put(file, column, values[column.path])


def put_resolved(file: h5py.File, resolved: Mapping[str, Any]) -> None:
    """Replace config/resolved by the values used from now on."""
    column = next(c for c in schema.FIXED if c.path == "config/resolved")
    del file[column.path]
    put(file, column, _json(resolved))


def _json(resolved: Mapping[str, Any]) -> str:
    """Return the values used as JSON text."""
    try:
        return json.dumps(resolved, indent=1, ensure_ascii=False)
    except TypeError as error:
        raise ResultError(f"config/resolved: {error}; give plain values") from error


def put_empty(file: h5py.File, ranks: int, layers: int, metrics: Sequence[str]) -> None:
    """Create the datasets that grow, without rows."""
    for group in ("model", "metrics")[: 2 if metrics else 1]:
        file.create_group(group, track_order=True)
    for column in (*schema.APPENDED, *map(schema.metric_column, metrics)):
        _growing(file, column, schema.numeric(column), {"[R, ranks]": ranks, "[R, L]": layers})
    for column in schema.EVENTS:
        text = column.dtype == schema.TEXT
        length = schema.EVENT_LENGTHS.get(column.name)
        dtype = h5py.string_dtype("utf-8", length) if text else schema.numeric(column)
        _growing(file, column, dtype, {})


def rewrite_with_checksums(file: h5py.File) -> None:
    """Rewrite all datasets of a file of an older schema with checksums."""
    rows = {c: file[c.path][:] for c in schema.APPENDED + schema.EVENTS if c.path in file}
    for column in rows:
        del file[column.path]
    for column, old in rows.items():
        widths = {column.shape: old.shape[1]} if old.ndim > 1 else {}
        extend(_growing(file, column, old.dtype, widths), old)
    done = {column.path for column in rows}

    def group(path: str) -> None:
        """Rewrite the remaining datasets of a group and of the groups in it."""
        for name in list(file[path or "/"]):
            inner = f"{path}/{name}" if path else name
            if isinstance(file[inner], h5py.Group):
                group(inner)
            elif inner not in done:
                old = file[inner]
                values, attributes = old[()], dict(old.attrs)
                array = np.asarray(values, old.dtype)
                del file[inner]
                new = _fixed(file, inner, array, not inner.startswith("model/"))
                for key, value in attributes.items():
                    text = isinstance(value, bytes)
                    new.attrs.create(key, text_array(value.decode()) if text else value)

    group("")


def _growing(
    file: h5py.File, column: Column, dtype: np.dtype[Any], widths: Mapping[str, int]
) -> h5py.Dataset:
    """Create the empty dataset of `column`; `widths` maps shapes to the length of a second axis."""
    row = (int(widths[column.shape]),) if column.shape in widths else ()
    size = max(1, dtype.itemsize * int(np.prod(row)))
    rows = max(1, min(CHUNK_ROWS[column.group], CHUNK // size))
    dataset = file.create_dataset(
        column.path, (0, *row), dtype, maxshape=(None, *row),
        chunks=(rows, *_chunks(row, WIDEST)), fletcher32=True, **PACKED,
    )
    _describe(dataset, column.unit, column.meaning)
    scale = SCALES.get(column.group)
    if column.path == scale:
        dataset.make_scale(column.name)
    elif scale:
        dataset.dims[0].attach_scale(file[scale])
    for axis, label in zip(dataset.dims, LABELS.get(column.shape, ()), strict=False):
        axis.label = label
    return dataset


def _describe(dataset: h5py.Dataset, unit: str, meaning: str) -> None:
    """Describe a dataset, in fedmpi's attributes and in those that other programs show."""
    texts = {"unit": unit, "meaning": meaning, "units": unit, "long_name": meaning}
    for name, text in texts.items():
        array = text_array(text)
        dataset.attrs.create(name, array, dtype=array.dtype)


def put_tree(group: h5py.Group, values: Mapping[str, Any]) -> None:
    """Write a dict of texts, numbers, lists of either, None and dicts of these."""
    for name, value in values.items():
        name = _checked_name(group, name)
        if isinstance(value, Mapping):
            put_tree(group.create_group(name, track_order=True), value)
        else:
            dataset = _fixed(group, name, _plain(group, name, value))
            path = " ".join(dataset.name.split("/")[2:]).replace("_", " ")  # "engine name"
            _describe(dataset, "", f"{path} of the run")


def put_devices(group: h5py.Group, columns: Mapping[str, Any], clients: int) -> None:
    """Write the columns of the devices, which have a number or a text for each client."""
    for name, values in columns.items():
        array = _plain(group, name, values)
        if array.shape != (clients,):
            raise ResultError(f"devices.{name} has shape {array.shape}, must be {(clients,)}")
        dataset = _fixed(group, _checked_name(group, name), array)
        unit, meaning = schema.DEVICES.get(name, ("", name.replace("_", " ")))
        _describe(dataset, unit, meaning)


def put_model(file: h5py.File, arrays: Mapping[str, AnyArray], sha256: str | None) -> None:
    """Write the weights {parameter: array} and their digest."""
    group = file["model"]
    group.clear()
    for name, array in arrays.items():
        dataset = _fixed(group, _checked_name(group, name), little_endian(array), packed=False)
        _describe(dataset, "1", f"final global weights {name}")
    put_attributes(group, {"sha256": sha256})


def _plain(group: h5py.Group, name: str, value: Any) -> AnyArray:
    """Return a value as an array of numbers or texts, or raise ResultError."""
    array = np.asarray("" if value is None else value)
    if array.dtype.kind in "UT" or (array.size == 0 and isinstance(value, list | tuple)):
        return text_array(array)
    if array.dtype.kind not in "biuf":
        raise ResultError(f"{group.name}/{name}: {str(value)[:40]!r} is not text, number or list")
    return little_endian(array)


def _checked_name(group: h5py.Group, name: object) -> str:
    """Return `name` if HDF5 accepts it as one component of a path, or raise ResultError."""
    if not isinstance(name, str) or not name or "/" in name or name.strip(".") == "":
        raise ResultError(f"{group.name}: {name!r} cannot be a name; use a text without '/'")
    return name


def extend(dataset: h5py.Dataset, rows: AnyArray) -> None:
    """Append rows to a dataset."""
    held = len(dataset)
    dataset.resize(held + len(rows), axis=0)
    if rows.size:
        dataset[held:] = rows


def extend_events(file: h5py.File, events: Sequence[tuple[Any, ...]]) -> None:
    """Append events, a list of tuples in the order of the columns."""
    if events:
        for column, values in zip(schema.EVENTS, zip(*events, strict=True), strict=True):
            text = column.dtype == schema.TEXT
            length = schema.EVENT_LENGTHS.get(column.name)
            rows = text_array(list(values), length) if text else np.array(values, column.dtype)
            extend(file[column.path], rows)


def cut(file: h5py.File, rounds: int, ranks: int) -> None:
    """Keep the first `rounds` rounds, drop the model, and widen the phases to `ranks` ranks."""
    numbers = file["rounds/round"][:rounds]
    last = numbers[-1] if rounds else -1
    rows = int(np.searchsorted(file["clients/round"][:], last, side="right"))
    for column in schema.APPENDED:
        file[column.path].resize(rows if column.group == "clients" else rounds, axis=0)
    for name in file.get("metrics", ()):
        file[f"metrics/{name}"].resize(rounds, axis=0)
    file["model"].clear()
    file["model"].attrs.pop("sha256", None)
    for column in schema.PHASE_COLUMNS:
        _widen(file, column, ranks)


def add_columns(file: h5py.File, columns: Iterable[Column]) -> None:
    """Add new `columns`, float64 and full of NaN, to a file of an older schema."""
    for column in columns:
        rows = np.full(next(iter(file[column.group].values())).shape, np.nan)
        widths = dict.fromkeys([column.shape], rows.shape[1]) if rows.ndim > 1 else {}
        extend(_growing(file, column, schema.numeric(column), widths), rows)


def _widen(file: h5py.File, column: Column, ranks: int) -> None:
    """Widen a dataset of phases to at least `ranks` columns, with NaN in the old rows."""
    old = file[column.path][:]
    if old.shape[1] >= ranks:
        return
    axis = file[column.path].dims[0]
    if len(axis):  # files of an earlier version have a scale on this axis
        axis.detach_scale(file["rounds/round"])
    del file[column.path]
    rows = np.full((len(old), ranks), np.nan)
    rows[:, : old.shape[1]] = old
    extend(_growing(file, column, schema.numeric(column), {column.shape: ranks}), rows)
