"""Encode and decode one message: the kept coordinates of a model, and their support.

The support is always stated, never inferred from the values, since a kept coordinate may be
zero. Each segment of the support takes the format that is smallest by exact size
(`fedmpi.comm.supports`). The values of a message are its kept coordinates in the order of the
flat vector. The message has one weight as a whole, or one for each unit. The layout of the
bytes is defined in `fedmpi.comm.wire`.
"""

from typing import Any

import numpy as np

from fedmpi.arrays import AnyArray, Integers, Vector
from fedmpi.comm import counts, supports, wire
from fedmpi.comm import values as packed
from fedmpi.comm.wire import Message, Sizes
from fedmpi.errors import MessageError
from fedmpi.layout import Layout, Support

__all__ = ["Sizes", "decode", "encode", "received", "size_of", "sizes", "weights"]


def encode(
    values: Vector,
    support: Support,
    *,
    sender: int = 0,
    round: int = 0,
    value_type: str = "float32",
    known: bool = False,
    weights: int | Integers | None = None,
    scales: Vector | None = None,
) -> memoryview:
    """Return a message with the coordinates of `values` that `support` holds.

    Parameters
    ----------
    values : float32[P]
        Read on the support only; other coordinates may hold anything.
    support : Support
        The coordinates to send. `decode` returns a support of the same level and units.
    sender, round : int
        Written to the header.
    value_type : "float32", "float16", "bfloat16", "int8", "int4" or "ones"
        Encoding of the values. The 16-bit types round to nearest, ties to even. Integers are
        numbers of steps, rounded to the nearest and clipped to -127..127 (int8) or -7..7 (int4).
        "ones" are not written, since all of them are 1.
    scales : float32[T], optional
        The step of each tensor; required for integers only.
    known : bool
        True if the receiver already has this support. A hash is then sent instead of the
        support if it is smaller.
    weights : None, int or int64[units kept]
        Sample count of the whole message, or of each unit in it.

    Returns
    -------
    memoryview
        The message; its length is the number of bytes that the client would send.

    Raises
    ------
    MessageError
        If an argument is not as stated above.
    """
    _check(values, support, value_type, scales)
    segments = supports.write(support, known)
    weight_kind, weight, coded = counts.write(weights, sum(s.kept for s in segments))
    more = {"weight_kind": weight_kind, "weight": weight, "sender": sender, "round": round}
    more["scales"] = 0 if scales is None else scales.size
    header, table = _frame(support, segments, value_type, **more)
    message = np.empty(wire.measure(header[0], table).total, np.uint8)
    parts = wire.split(message, header[0], table)
    parts.header[:], parts.table[:] = header.view(np.uint8), table.view(np.uint8)
    for place, segment in zip(parts.supports, segments):
        place[:] = segment.stream
    packed.gather(values, support, parts.values, value_type, scales)
    parts.weights[:] = coded
    for place in parts.padding:
        place[:] = 0
    wire.seal(message)
    return message.data


def decode(
    message: Message, layout: Layout, *, known: Support | None = None
) -> tuple[Vector, Support]:
    """Return (float32[P] with 0 outside the support, Support) of a message.

    Parameters
    ----------
    message : bytes or any buffer of bytes
    layout : Layout
        Layout of the model, which sender and receiver share.
    known : Support, optional
        The support that the message refers to, if it holds a hash in place of a support.

    Raises
    ------
    MessageError
        If the message is truncated or altered, or contradicts itself or the layout.
        Sizes are checked before memory for them is allocated.
    """
    data, header, table, _ = wire.read(message)
    wire.check_sum(data, header)
    if header["size"] != layout.size:
        raise MessageError(
            f"message of a model with {header['size']} coordinates: this one has {layout.size}"
        )
    parts = wire.split(data, header, table)
    if any(place.any() for place in parts.padding):
        raise MessageError("message: its padding is not zero")
    counts.check(header, table, parts.weights)
    level = wire.LEVELS[header["level"]]
    support = supports.read(layout, level, table, parts.supports, known)
    held = supports.count(support)
    if held != header["nnz"]:
        raise MessageError(f"message of {header['nnz']} coordinates: its support holds {held}")
    value_type = wire.VALUE_TYPES[header["value_type"]]
    if value_type in wire.INTEGERS and header["scales"] != len(layout.tensors):
        raise MessageError(
            f"message: {header['scales']} scales, the model has {len(layout.tensors)} tensors"
        )
    scales = parts.values[: 4 * int(header["scales"])].view("<f4")
    if not (np.isfinite(scales) & (scales >= 0)).all():
        raise MessageError("message: its scales are not all finite and positive")
    return packed.scatter(parts.values, support, value_type), support


def size_of(support: Support, *, value_type: str = "float32", known: bool = False) -> Sizes:
    """Return the Sizes of the message without weights that `encode` would make of `support`."""
    streams = [segment.stream.size for segment in supports.write(support, known)]
    scales = len(support.layout.tensors) if value_type in wire.INTEGERS else 0
    return wire.summed(streams, wire.value_bytes(support.size, value_type, scales))


def received(
    values: Vector, support: Support, *, value_type: str = "float32", scales: Vector | None = None
) -> Vector:
    """Return the float32[P] that `decode` would give for a message of `values` on `support`.

    For a sender and a receiver in one process, this gives the same bits without building the
    message. Coordinates outside the support are 0. If every value is sent unchanged, the result
    is `values` itself, not a copy.
    """
    if support.whole and value_type == "float32":
        return values
    numbers = 0 if scales is None else scales.size
    size = wire.value_bytes(supports.count(support), value_type, numbers)
    kept = np.empty(size, np.uint8)
    packed.gather(values, support, kept, value_type, scales)
    return packed.scatter(kept, support, value_type)


def sizes(message: Message) -> Sizes:
    """Return the Sizes of a message, its bytes by part. Raises MessageError."""
    return wire.read(message)[3]


def weights(message: Message) -> int | Integers | None:
    """Return the weights of a message as given to `encode`: None, int or int64[units kept].

    Raises MessageError if they contradict the header. The rest is checked by `decode`.
    """
    data, header, table, _ = wire.read(message)
    return counts.read(header, table, wire.split(data, header, table).weights)


def _frame(
    support: Support, segments: list[supports.Segment], value_type: str, **more: Any
) -> tuple[AnyArray, AnyArray]:
    """Return (HEADER[1], ENTRY[S]) of a message; `more` are further fields of the header."""
    header = wire.header(
        value_type=wire.VALUE_TYPES.index(value_type),
        level=wire.LEVELS.index(support.level),
        segments=len(segments),
        size=support.layout.size,
        nnz=supports.count(support),
        **more,
    )
    table = np.zeros(len(segments), wire.ENTRY)
    for entry, (kind, first, stop, kept, stream) in zip(table, segments):
        entry["kind"], entry["first"], entry["stop"] = kind, first, stop
        entry["kept"], entry["support"] = kept, stream.size
    return header, table


def _check(
    values: Vector, support: Support, value_type: str, scales: Vector | None
) -> None:
    """Raise MessageError if the arguments of `encode` are invalid."""
    size = support.layout.size
    if values.dtype != np.float32 or values.shape != (size,):
        raise MessageError(
            f"encode: values are {values.dtype}{list(values.shape)}, must be float32[{size}]"
        )
    units = len(support.starts) - 1
    if support.keep.dtype != np.uint8 or support.keep.shape != (units,):
        raise MessageError(
            f"encode: keep is {support.keep.dtype}{list(support.keep.shape)}, "
            f"must be uint8[{units}] at level {support.level!r}"
        )
    if value_type not in wire.VALUE_TYPES:
        raise MessageError(f"encode: value_type {value_type!r}, allowed: {wire.VALUE_TYPES}")
    tensors = len(support.layout.tensors)
    wanted = (tensors,) if value_type in wire.INTEGERS else None
    if (None if scales is None else scales.shape) != wanted:
        raise MessageError(
            f"encode: scales are for integers, float32[{tensors}]; "
            f"got {None if scales is None else list(scales.shape)} for {value_type}"
        )
