"""Values of a message: the kept coordinates as float32, as 16 bits, or as small integers.

"ones" take no bytes: every kept coordinate is 1, so the support is enough. Integers are numbers of
steps, preceded by the step of each tensor, float32[T]. 4-bit integers are stored plus 8, two to a
byte, the first in the lower half.
"""

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Octets, Vector
from fedmpi.comm import wire
from fedmpi.errors import MessageError
from fedmpi.layout import Support


def gather(
    values: Vector, support: Support, out: Octets, value_type: str, scales: Vector | None = None
) -> None:
    """Write the coordinates of float32[P] `values` that `support` holds to `out`.

    `out` is uint8[bytes of the values], changed in place. `scales` holds the steps of integers.
    """
    if value_type == "float32":
        _move(values, support, out.view(np.uint32))
        return
    if value_type == "ones":
        if not (values[support.mask() != 0] == 1).all():
            raise MessageError(
                "encode: a value of a part that is coded as ones is not 1; leave out the stage "
                "that changed it"
            )
        return
    if scales is not None:
        out[: scales.nbytes] = scales.astype("<f4").view(np.uint8)
        _integers(values, support, out[scales.nbytes :], value_type, scales)
        return
    kept = np.empty(out.size // 2, np.uint32)
    _move(values, support, kept)
    to = {"float16": kernels.halves.to_float16, "bfloat16": kernels.halves.to_bfloat16}
    to[value_type](kept, out.view(np.uint16))


def scatter(stream: Octets, support: Support, value_type: str) -> Vector:
    """Return float32[P] with the values of uint8[...] `stream` on `support` and 0 elsewhere."""
    if value_type == "float32":
        return _spread(stream.view(np.uint32), support)
    if value_type == "ones":
        ones: Vector = (support.mask() != 0).astype(np.float32)
        return ones
    if value_type in wire.INTEGERS:
        return _from_integers(stream, support, value_type)
    wide = np.empty(stream.size // 2, np.float32)
    if value_type == "float16":
        kernels.halves.from_float16(stream.view(np.uint16), wide)
    else:
        kernels.halves.from_bfloat16(stream.view(np.uint16), wide.view(np.uint32))
    return _spread(wide.view(np.uint32), support)


def _integers(
    values: Vector, support: Support, out: Octets, value_type: str, scales: Vector
) -> None:
    """Write the kept values to uint8[...] `out` as numbers of steps."""
    top = 2.0 ** (wire.VALUE_BITS[wire.VALUE_TYPES.index(value_type)] - 1) - 1
    steps = np.repeat(scales, np.diff(support.layout.starts("tensor")))
    numbers = np.divide(values, steps, out=np.zeros_like(values), where=steps > 0)
    kept = np.clip(np.rint(numbers[support.mask() != 0]), -top, top).astype(np.int8)
    if value_type == "int8":
        out[:] = kept.view(np.uint8)
        return
    halves = np.zeros(2 * out.size, np.uint8)
    halves[: kept.size] = kept + 8
    out[:] = halves[::2] | halves[1::2] << 4


def _from_integers(stream: Octets, support: Support, value_type: str) -> Vector:
    """Return float32[P]: each number of steps times its tensor's step, and 0 elsewhere."""
    starts, held = support.layout.starts("tensor"), support.mask() != 0
    scales, stream = np.split(stream, [4 * (starts.size - 1)])
    numbers = stream.view(np.int8)
    if value_type == "int4":
        halves = np.column_stack((stream & 15, stream >> 4)).ravel()
        numbers = halves[: int(held.sum())].astype(np.int8) - 8
    out = np.zeros(held.size, np.float32)
    with np.errstate(over="ignore"):  # the receiver checks that the values are finite
        out[held] = numbers * np.repeat(scales.view("<f4"), np.diff(starts))[held]
    return out


def _move(values: Vector, support: Support, out: AnyArray) -> None:
    """Copy the kept coordinates of float32[P] to uint32[nnz] `out` with the same bits."""
    words = np.ascontiguousarray(values).view(np.uint32)
    if out.size == words.size:
        out[:] = words
    elif support.level == "coordinate":
        kernels.moves.compress(words, support.keep, out)
    else:
        kernels.moves.gather(words, support.starts, support.keep, out)


def _spread(kept: AnyArray, support: Support) -> Vector:
    """Return float32[P] with uint32[nnz] `kept` on the support and 0 elsewhere."""
    size = support.layout.size
    if kept.size == size:
        return kept.copy().view(np.float32)
    out = np.empty(size, np.uint32)
    if support.level == "coordinate":
        kernels.moves.expand(kept, support.keep, out)
    else:
        kernels.moves.scatter(kept, support.starts, support.keep, out)
    return out.view(np.float32)
