"""Weights of a message: integer sample counts, in the smallest format that holds them exactly.

one       in the header                one count for the whole message
classes   8 + 8 c + m bytes            a table of c <= 256 counts and a byte for each unit
u32       4 m bytes                    counts from 0 to 2**32 - 1
i64       8 m bytes                    any counts
"""

from typing import Any

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Integers, Octets
from fedmpi.comm import wire
from fedmpi.errors import MessageError

_NOTHING = np.zeros(0, np.uint8)


def write(weights: int | Integers | None, units: int) -> tuple[int, int, Octets]:
    """Return (kind, header field, uint8[...]) for None, an int or int64[units] `weights`."""
    if weights is None:
        return wire.NO_WEIGHT, 0, _NOTHING
    if isinstance(weights, (int, np.integer)):
        return wire.ONE_WEIGHT, int(weights), _NOTHING
    if weights.dtype != np.int64 or weights.shape != (units,):
        raise MessageError(
            f"encode: weights are {weights.dtype}{list(weights.shape)}, must be int64[{units}]"
        )
    weights = np.ascontiguousarray(weights)  # of a view of every other count too
    choices = [(wire.I64_WEIGHTS, weights.view(np.uint8))]
    if units and weights.min() >= 0 and weights.max() < 2**32:
        choices.append((wire.U32_WEIGHTS, weights.astype("<u4").view(np.uint8)))
    table, codes = np.empty(kernels.weights.CLASSES, np.int64), np.empty(units, np.uint8)
    classes = kernels.weights.classify(weights, table, codes)
    if classes >= 0:
        head = np.concatenate(([classes], table[:classes])).astype("<i8").view(np.uint8)
        choices.append((wire.CLASS_WEIGHTS, np.concatenate((head, codes))))
    kind, stream = min(choices, key=lambda choice: choice[1].size)
    return kind, stream.size, stream


def check(header: Any, table: AnyArray, stream: Octets) -> None:
    """Raise MessageError if uint8[...] `stream` does not fit the header and the segments."""
    units = sum(int(kept) for kept in table["kept"])
    kind, size = header["weight_kind"], stream.size
    classes = 0
    if kind == wire.CLASS_WEIGHTS and size >= 8:
        classes = int(stream[:8].view("<i8")[0])
    needed = {
        wire.CLASS_WEIGHTS: 8 + 8 * classes + units,
        wire.U32_WEIGHTS: 4 * units,
        wire.I64_WEIGHTS: 8 * units,
    }.get(int(kind), 0)
    if size != needed or not 0 <= classes <= kernels.weights.CLASSES:
        raise MessageError(f"message: {size} bytes of weights for {units} units")
    codes = stream[8 + 8 * classes :]
    if kind == wire.CLASS_WEIGHTS and units and codes.max() >= classes:
        raise MessageError(f"message: weight of class {codes.max()}, there are {classes}")


def read(header: Any, table: AnyArray, stream: Octets) -> int | Integers | None:
    """Return None, an int or int64[units kept]: the inverse of `write`. Raises MessageError."""
    check(header, table, stream)
    kind = header["weight_kind"]
    if kind == wire.NO_WEIGHT:
        return None
    if kind == wire.ONE_WEIGHT:
        return int(header["weight"])
    if kind == wire.CLASS_WEIGHTS:
        classes = int(stream[:8].view("<i8")[0])
        end = 8 + 8 * classes
        classed: Integers = stream[8:end].view("<i8").astype(np.int64)[stream[end:]]
        return classed
    counts: Integers = stream.view("<u4" if kind == wire.U32_WEIGHTS else "<i8").astype(np.int64)
    return counts
