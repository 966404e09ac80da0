"""One message: the kept coordinates of a model and the support that says which they are.

A support is always stated, never inferred from values: a kept coordinate may be zero. The
formats are those of `fedmpi.comm.supports`; each segment takes the smallest by exact size.
The values of a message are its kept coordinates in the order of the flat vector.
"""

import numpy as np

from fedmpi.comm import supports, wire
from fedmpi.comm.wire import Sizes
from fedmpi.errors import MessageError
from fedmpi.layout import Support

__all__ = ["Sizes", "decode", "encode", "sizes"]


def encode(values, support, *, sender=0, round=0, value_type="float32", known=False):
    """Return a message with the coordinates of `values` that `support` holds.

    Parameters
    ----------
    values : float32[P]
        Read only on the support: outside, it may hold anything.
    support : Support
        What is sent; its level and units are what `decode` gives back.
    sender, round : int
        Noted in the header.
    value_type : "float32", "float16" or "bfloat16"
        How a value travels. The 16-bit types round to nearest, ties to even.
    known : bool
        True if the receiver has this very support: a hash travels in its place,
        where that is smaller.

    Returns
    -------
    memoryview
        Bytes of the message; its length is what the client would send.

    Raises
    ------
    MessageError
        If values, support or value_type are not as stated above.
    """
    _check(values, support, value_type)
    segments = supports.write(support, known)
    nnz = supports.count(support)
    header = np.zeros(1, wire.HEADER)
    header["magic"], header["version"] = wire.MAGIC, wire.VERSION
    header["value_type"] = wire.VALUE_TYPES.index(value_type)
    header["level"] = wire.LEVELS.index(support.level)
    header["segments"] = len(segments)
    header["sender"], header["round"] = sender, round
    header["size"], header["nnz"] = values.size, nnz
    table = np.zeros(len(segments), wire.ENTRY)
    for entry, segment in zip(table, segments):
        entry["kind"], entry["first"], entry["stop"] = segment.kind, segment.first, segment.stop
        entry["kept"], entry["support"] = segment.kept, segment.stream.size
    size = wire.measure(header[0], table)
    message = np.empty(size.total, np.uint8)
    at = size.header + size.table
    message[: size.header] = header.view(np.uint8)
    message[size.header : at] = table.view(np.uint8)
    for segment in segments:
        message[at : at + segment.stream.size] = segment.stream
        at += segment.stream.size
    message[at : wire.padded(at)] = 0
    supports.gather(values, support, message[wire.padded(at) :], value_type)
    wire.seal(message)
    return message.data


def decode(message, layout, *, known=None):
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
    data, header, table, size = wire.read(message)
    wire.check_sum(data, header)
    if header["size"] != layout.size:
        raise MessageError(
            f"message of a model with {header['size']} coordinates: this one has {layout.size}"
        )
    level = wire.LEVELS[header["level"]]
    at = size.header + size.table
    end = wire.padded(at + size.support)
    if data[at + size.support : end].any():
        raise MessageError("message: its padding is not zero")
    support = supports.read(layout, level, table, data[at : at + size.support], known)
    if supports.count(support) != header["nnz"]:
        raise MessageError(
            f"message of {header['nnz']} coordinates: its support has {supports.count(support)}"
        )
    value_type = wire.VALUE_TYPES[header["value_type"]]
    return supports.scatter(data[end : end + size.values], support, value_type), support


def sizes(message):
    """Return the Sizes of a message: what its bytes are used for. Raises MessageError."""
    return wire.read(message)[3]


def _check(values, support, value_type):
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
