"""Convert the values of a round to the dtypes of the table, or report the error in them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fedmpi.arrays import AnyArray
from fedmpi.errors import ResultError
from fedmpi.record import schema

_GROUPS = {"rounds": schema.ROUNDS, "clients": schema.CLIENTS, "layers": schema.LAYERS}


def row_arrays(
    group: str, values: Any, place: str, shape: tuple[int, ...] | None = None
) -> dict[str, AnyArray]:
    """Return {path: array} of one round, copied and in the dtypes of the table.

    `values`, {column: value} or a structured array, must have exactly the columns of `group`. Each
    column must have the given `shape`, or with None all must have the same length. Raises
    ResultError that names `place` and the column.
    """
    columns = {column.name: column for column in _GROUPS[group]}
    names = values.keys() if hasattr(values, "keys") else values.dtype.names or ()
    wrong = [f"{name} is missing" for name in columns if name not in names]
    wrong += [f"{name} is unknown" for name in names if name not in columns]
    if wrong:
        raise ResultError(f"{place}: columns of {group}: {'; '.join(wrong)}")
    arrays = {}
    for name, column in columns.items():
        array = column_array(column, values[name], place)
        if shape is None:
            shape = (array.size,)
        if array.shape != shape:
            raise ResultError(f"{place}: {column.path} has shape {array.shape}, must be {shape}")
        arrays[column.path] = array
    return arrays


def column_array(column: schema.Column, values: ArrayLike, place: str) -> AnyArray:
    """Return a copy of `values` in the dtype of `column`.

    Raises ResultError for values that are no numbers, or integers that would change.
    """
    dtype = schema.numeric(column)
    found = np.asarray(values)
    if dtype.kind == "f":
        if found.dtype.kind not in "biuf":
            raise ResultError(f"{place}: {column.path} is {str(values)[:40]!r}, must be a number")
        return found.astype(dtype)
    if found.size and found.dtype.kind not in "biu":  # an empty list has dtype float64
        raise ResultError(f"{place}: {column.path} is {str(values)[:40]!r}, must be whole numbers")
    array = found.astype(dtype)
    if not np.array_equal(array, found):
        raise ResultError(f"{place}: {column.path} does not fit into {dtype.name}")
    return array
