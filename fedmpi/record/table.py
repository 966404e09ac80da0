"""A group of columns of a result file, each of which is read on first use."""

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from fedmpi.arrays import AnyArray, Flags, Integers
from fedmpi.errors import ResultError, nearest
from fedmpi.record import schema
from fedmpi.record.schema import Column
from fedmpi.record.source import Source, reading

Kinds: TypeAlias = tuple[list[str], Flags] | tuple[None, None]
"""(names of the kinds, index of each row's name), or (None, None) if there are too many kinds."""


class Table:
    """Columns of equal length: `table["flops"]` or `table.flops` is a numpy array [rows, ...].

    As in a data frame, len() counts rows, while iteration and `in` refer to column names.
    """

    def __init__(
        self, source: Source, group: str, columns: Iterable[Column], rows: int | None = None
    ) -> None:
        """Check that `source` has all columns (schema.Column), in one shape [rows, ...]."""
        self._source = source
        self._group = group
        self._columns = {column.name: column for column in columns}
        self._read: dict[str, AnyArray] = {}
        self._kinds: dict[tuple[str, int], Kinds] = {}
        shapes = {name: source.shape(c.path, c.dtype) for name, c in self._columns.items()}
        self.shape: tuple[int, ...] = next(iter(shapes.values()), (0,))
        length = self.shape[:1] if rows is None else (rows,)
        for name, shape in shapes.items():
            if shape != self.shape or shape[:1] != length:
                raise ResultError(f"{source.path}: damaged, /{group}/{name} has shape {shape}")
        expected = 2 if any("," in column.shape for column in columns) else 1
        if len(self.shape) != expected:
            raise ResultError(f"{source.path}: damaged, /{group} has {len(self.shape)} dimensions")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in the order of the schema."""
        return tuple(self._columns)

    @property
    def schema(self) -> tuple[Column, ...]:
        """The schema.Column of each column."""
        return tuple(self._columns.values())

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the columns."""
        return iter(self._columns)

    def __contains__(self, name: object) -> bool:
        """Return True if there is a column `name`."""
        return name in self._columns

    def __getitem__(self, name: str) -> AnyArray:
        """Return one column as a read-only array."""
        if name not in self._columns:
            raise KeyError(self._unknown(name))
        if name not in self._read:
            column = self._columns[name]
            values = self._source.read(column.path, column.dtype)
            self._check(column, values)
            values.flags.writeable = False
            self._read[name] = values
        return self._read[name]

    def kinds(self, name: str, most: int) -> Kinds:
        """Return (names, uint8[rows] of indices into them) of a column with few different texts.

        The names are sorted. The result is (None, None) if there are more than `most` names, where
        `most` is at most 255. Rows are not converted to Python objects, so a million rows take
        milliseconds.
        """
        if (name, most) not in self._kinds:
            values = self._source.stored(self._columns[name].path)
            with reading(self._source.path):
                self._kinds[name, most] = coded(values, most)
        return self._kinds[name, most]

    def _check(self, column: Column, values: AnyArray) -> None:
        """Raise ResultError if a value is outside the limits of its column."""
        if column.dtype is None:
            return
        least, most = schema.limits(column)
        wrong = np.flatnonzero((values < least) | (values > most))
        if len(wrong):
            raise ResultError(f"{self._source.path}: damaged, /{column.path} holds "
                              f"{values.flat[wrong[0]]}, which is not from {least} to {most:.1g}")

    def __getattr__(self, name: str) -> AnyArray:
        """Return one column: `table.flops` is `table["flops"]`."""
        if name.startswith("_") or name not in self._columns:
            raise AttributeError(self._unknown(name))
        return self[name]

    def _unknown(self, name: str) -> str:
        group, columns = (self.__dict__.get(key, ()) for key in ("_group", "_columns"))
        return f"{name!r} is not a column of {group}; {nearest(name, columns, 'columns')}"

    def __dir__(self) -> list[str]:
        """Return attributes and columns, for completion."""
        return [*super().__dir__(), *self._columns]

    def __repr__(self) -> str:
        """Return one line: rows and columns."""
        return f"<{self._group}: {len(self)} rows of {', '.join(self._columns)}>"

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame. Raises ResultError if pandas is not installed.

        Status codes become words. Columns with two axes (phases, layers) are flattened, with an
        index of the round's row and the rank or layer.
        """
        pandas = optional("pandas")
        values = {name: self[name].ravel() for name in self}
        if self._group == "clients":
            words = schema.CLIENT_STATUS
            values["status"] = pandas.Categorical.from_codes(known_status(values["status"]), words)
        index = None
        if len(self.shape) == 2:
            second = "rank" if self._group == "phases" else "layer"
            index = pandas.MultiIndex.from_product(map(range, self.shape), names=["row", second])
        return pandas.DataFrame(values, index=index)

    def to_xarray(self, **coordinates: Any) -> Any:
        """Return an xarray Dataset with units and long names. Raises ResultError without xarray.

        The first dimension is "round" for rounds, phases and layers, and "row" for other groups. A
        second axis is "rank" or "layer". `coordinates` are arrays by dimension.
        """
        xarray = optional("xarray")
        first = "round" if self._group in ("rounds", "phases", "layers") else "row"
        axes = (first, "rank" if self._group == "phases" else "layer")[: len(self.shape)]
        values = {name: (axes, self[name], {"units": c.unit, "long_name": c.meaning})
                  for name, c in self._columns.items() if name not in axes}
        if first in self._columns:
            coordinates = {first: self[first]} | coordinates
        return xarray.Dataset(values, {k: v for k, v in coordinates.items() if k in axes})


def optional(name: str) -> Any:
    """Return the library `name`, pandas or xarray. Raises ResultError if it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        hint = f"to_{name} needs {name}: pip install 'fedmpi[analysis]'"
        raise ResultError(hint) from error


def coded(values: AnyArray, most: int) -> Kinds:
    """Return (names, uint8[n]) of an array of bytes or numbers, as Table.kinds does."""
    found: list[str] = []
    places = np.zeros(len(values), np.uint8)
    left = np.ones(len(values), bool)
    while left.any():
        if len(found) == most:
            return None, None
        value = values[left.argmax()]
        same = values == value
        places[same] = len(found)
        left &= ~same
        found.append(value.decode() if isinstance(value, bytes) else str(value))
    names = sorted(found)
    return names, np.array([names.index(name) for name in found], np.uint8)[places]


def known_status(codes: ArrayLike) -> Integers:
    """Return status codes as int64, with -1 for codes unknown to the schema."""
    codes = np.asarray(codes, np.int64)
    return np.where(codes < len(schema.CLIENT_STATUS), codes, -1)
