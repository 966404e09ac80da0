"""One message: the kept coordinates of a model and the support that says which they are.

A support is always stated, never inferred from values: a kept coordinate may be zero. Each
segment of it takes the smallest format by exact size (`fedmpi.comm.supports`). The values of
a message are its kept coordinates in the order of the flat vector; a weight stands behind
the whole message or behind each unit. The bytes are laid out in `fedmpi.comm.wire`.
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
        Read only on the support: outside, it may hold anything.
    support : Support
        What is sent; its level and units are what `decode` gives back.
    sender, round : int
        Noted in the header.
    value_type : "float32", "float16", "bfloat16", "int8", "int4" or "ones"
        How a value travels. The 16-bit types round to nearest, ties to even; the integers are
        the nearest numbers of steps, from -127 to 127 or from -7 to 7; "ones" are not written,
        since all of them are 1.
    scales : float32[T], optional
        For integers: the step of each tensor.
    known : bool
        True if the receiver has this very support: a hash travels in its place,
        where that is smaller.
    weights : None, int or int64[units kept]
        Sample counts behind the message, or behind each unit that is in.

    Returns
    -------
    memoryview
        Bytes of the message; its length is what the client would send.

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
        The model that both ends have.
    known : Support, optional
        The support that the message refers to by hash, if it does.

    Raises
    ------
    MessageError
        If the message is truncated, altered, contradicts itself or the layout.
        Nothing is allocated before the sizes that ask for it are checked.
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
    """Return the Sizes of a message on `support`: `sizes` of what `encode` would give."""
    streams = [segment.stream.size for segment in supports.write(support, known)]
    scales = len(support.layout.tensors) if value_type in wire.INTEGERS else 0
    return wire.summed(streams, wire.value_bytes(support.size, value_type, scales))


def received(
    values: Vector, support: Support, *, value_type: str = "float32", scales: Vector | None = None
) -> Vector:
    """Return what `decode` gives for a message of `values` float32[P] on `support`.

    The same bits without the message, for ends that lie in one process: 0 outside the support.
    `values` themselves, not a copy, if all of them are sent as they are.
    """
    if support.whole and value_type == "float32":
        return values
    numbers = 0 if scales is None else scales.size
    size = wire.value_bytes(supports.count(support), value_type, numbers)
    kept = np.empty(size, np.uint8)
    packed.gather(values, support, kept, value_type, scales)
    return packed.scatter(kept, support, value_type)


def sizes(message: Message) -> Sizes:
    """Return the Sizes of a message: what its bytes are used for. Raises MessageError."""
    return wire.read(message)[3]


def weights(message: Message) -> int | Integers | None:
    """Return the weights of a message as `encode` got them: None, int or int64[units kept].

    Raises MessageError if they contradict the header; the rest is the task of `decode`.
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
    """Raise MessageError if `encode` cannot take its input."""
    size = support.layout.size
    if values.dtype != np.float32 or values.shape != (size,):
        raise MessageError(
            f"encode: values are {values.dtype}{list(values.shape)}, needed is float32[{size}]"
        )
    units = len(support.starts) - 1
    if support.keep.dtype != np.uint8 or support.keep.shape != (units,):
        raise MessageError(
            f"encode: keep is {support.keep.dtype}{list(support.keep.shape)}, "
            f"needed is uint8[{units}] at level {support.level!r}"
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
