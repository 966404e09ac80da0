"""Header and segment table of a message, and the checks that every message must pass.

    header (64 bytes) | table (32 bytes a segment) | supports | values | weights

All integers are little-endian. Each support is padded with zeros to a multiple of 8 bytes, and
so are the values if weights follow. The checksum is the CRC-32 of the message with the checksum
field set to zero. It detects damage, not malice, so the decoder checks everything again.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fedmpi.arrays import AnyArray, Octets
from fedmpi.errors import MessageError

Message: TypeAlias = bytes | bytearray | memoryview | Octets
"""A message, as any buffer of bytes."""
MAGIC = b"FMPI"
VERSION = 1
LEVELS = ("model", "layer", "tensor", "row", "coordinate")
VALUE_TYPES = ("float32", "float16", "bfloat16", "int8", "int4", "ones")
VALUE_BITS = (32, 16, 16, 8, 4, 0)
INTEGERS = ("int8", "int4")  # a float32 scale for each tensor comes before the values
DENSE, PACKED, ROWS, RUNS, BITMAP, IDX16, IDX32, VARINT = range(8)
KINDS = ("dense", "packed", "rows", "runs", "bitmap", "idx16", "idx32", "varint")
NO_WEIGHT, ONE_WEIGHT, CLASS_WEIGHTS, U32_WEIGHTS, I64_WEIGHTS = range(5)

HEADER = np.dtype(
    [
        ("magic", "S4"),
        ("version", "<u2"),
        ("value_type", "u1"),
        ("level", "u1"),
        ("weight_kind", "u1"),
        ("flags", "V3"),  # zero
        ("segments", "<u4"),
        ("sender", "<i8"),
        ("round", "<i8"),
        ("size", "<i8"),  # coordinates of the model
        ("nnz", "<i8"),  # coordinates in the message
        ("weight", "<i8"),  # the single weight, or the number of bytes of the weights
        ("checksum", "<u4"),
        ("scales", "<u4"),  # number of float32 scales before integer values
    ]
)
ENTRY = np.dtype(
    [
        ("kind", "u1"),
        ("flags", "V3"),  # zero
        ("first", "<u4"),  # tensors first to stop - 1
        ("stop", "<u4"),
        ("spare", "<u4"),  # zero
        ("kept", "<i8"),  # kept units, of the header's level
        ("support", "<i8"),  # bytes of the support stream
    ]
)
# mypy assumes that a dtype may have no fields.
_CHECKSUM: int = HEADER.fields["checksum"][1]  # type: ignore[index]


@dataclass(frozen=True)
class Sizes:
    """Bytes of one message by part; `total`, the message's length, is the sum of the others."""

    total: int
    header: int
    table: int
    support: int
    values: int
    weights: int
    padding: int


class Parts(NamedTuple):
    """The parts of one message as views, uint8[...] each; supports and padding are lists."""

    header: Octets
    table: Octets
    supports: list[Octets]
    values: Octets
    weights: Octets
    padding: list[Octets]


def header(**fields: Any) -> AnyArray:
    """Return HEADER[1] with `fields` set, the rest zero. Raises MessageError on overflow."""
    record = np.zeros(1, HEADER)
    record["magic"], record["version"] = MAGIC, VERSION
    for name, value in fields.items():
        try:
            record[name] = value
        except OverflowError:
            raise MessageError(f"encode: {name} {value} does not fit in 64 bits") from None
    return record


def padded(size: int) -> int:
    """Return `size` rounded up to a multiple of 8."""
    return -(-size // 8) * 8


def checksum(message: Octets) -> int:
    """Return the CRC-32 of `message` (uint8[...]) with zero in place of its checksum field."""
    crc = zlib.crc32(message[:_CHECKSUM].data)
    crc = zlib.crc32(b"\0\0\0\0", crc)
    return zlib.crc32(message[_CHECKSUM + 4 :].data, crc)


def seal(message: Octets) -> None:
    """Write the checksum into `message` (uint8[...], changed in place)."""
    message[_CHECKSUM : _CHECKSUM + 4].view("<u4")[0] = checksum(message)


def measure(header: Any, table: AnyArray) -> Sizes:
    """Return the Sizes that a header (a record) and a table (ENTRY[S]) state.

    They are computed in Python integers, which cannot overflow.
    """
    streams = [int(size) for size in table["support"]]
    values = value_bytes(
        int(header["nnz"]), VALUE_TYPES[header["value_type"]], int(header["scales"])
    )
    many = header["weight_kind"] > ONE_WEIGHT
    return summed(streams, values, int(header["weight"]) if many else None)


def value_bytes(count: int, value_type: str, scales: int) -> int:
    """Return the number of bytes of `count` values and of the scales before them."""
    return 4 * scales + -(-count * VALUE_BITS[VALUE_TYPES.index(value_type)] // 8)


def summed(streams: Sequence[int], values: int, weights: int | None = None) -> Sizes:
    """Return the Sizes of a message from the bytes of each support, of values and of weights.

    `weights` is None if no weights follow the values.
    """
    support = sum(streams)
    padding = sum(map(padded, streams)) - support
    padding += 0 if weights is None else padded(values) - values
    parts = {
        "header": HEADER.itemsize,
        "table": len(streams) * ENTRY.itemsize,
        "support": support,
        "values": values,
        "weights": weights or 0,
        "padding": padding,
    }
    return Sizes(total=sum(parts.values()), **parts)


def split(data: Octets, header: Any, table: AnyArray) -> Parts:
    """Return the Parts of a message, uint8[...], whose header and table fit its length.

    All parts are views, so writing to them changes the message.
    """
    at = HEADER.itemsize + table.size * ENTRY.itemsize
    supports, padding = [], []
    for size in map(int, table["support"]):
        supports.append(data[at : at + size])
        padding.append(data[at + size : at + padded(size)])
        at += padded(size)
    values = measure(header, table).values
    end = at + (padded(values) if header["weight_kind"] > ONE_WEIGHT else values)
    padding.append(data[at + values : end])
    return Parts(
        header=data[: HEADER.itemsize],
        table=data[HEADER.itemsize : HEADER.itemsize + table.size * ENTRY.itemsize],
        supports=supports,
        values=data[at : at + values],
        weights=data[end:],
        padding=padding,
    )


def read(message: Message) -> tuple[Octets, Any, AnyArray, Sizes]:
    """Return (uint8[...], header record, ENTRY[S], Sizes) of a message.

    The bytes are copied if they are read-only or not aligned to 8 bytes. Everything that can be
    checked without the model's layout is checked, except the checksum (see `check_sum`).
    Raises MessageError.
    """
    data = np.frombuffer(message, np.uint8)
    if data.ctypes.data % 8 or not data.flags.writeable:
        data = data.copy()  # otherwise each kernel would be compiled for such arrays as well
    if data.size < HEADER.itemsize:
        raise MessageError(f"message of {data.size} bytes: shorter than its header of 64")
    header = data[: HEADER.itemsize].view(HEADER)[0]
    if header["magic"] != MAGIC:
        raise MessageError(f"message starts with {header['magic']!r}, not {MAGIC!r}")
    if header["version"] != VERSION:
        raise MessageError(f"message of version {header['version']}: this reads {VERSION}")
    _check_header(header)
    end = HEADER.itemsize + int(header["segments"]) * ENTRY.itemsize
    if end > data.size:
        raise MessageError(f"message: its table needs {end} bytes, it has {data.size}")
    table = data[HEADER.itemsize : end].view(ENTRY)
    _check_table(table)
    sizes = measure(header, table)
    if sizes.total != data.size:
        raise MessageError(f"message: its header states {sizes.total} bytes, it has {data.size}")
    return data, header, table, sizes


def check_sum(data: Octets, header: Any) -> None:
    """Raise MessageError unless `data` (uint8[...]) has the checksum in `header`."""
    if checksum(data) != header["checksum"]:
        raise MessageError("message: its checksum is wrong, so it was altered on the way")


def _check_header(header: Any) -> None:
    """Raise MessageError if a field of `header` has an invalid value."""
    limits = {
        "value_type": len(VALUE_TYPES),
        "level": len(LEVELS),
        "weight_kind": I64_WEIGHTS + 1,
    }
    for field, stop in limits.items():
        if header[field] >= stop:
            raise MessageError(f"message: {field} is {header[field]}, must be 0 to {stop - 1}")
    scaled = VALUE_TYPES[header["value_type"]] in INTEGERS
    if header["scales"] and not scaled:
        raise MessageError(f"message: {header['scales']} scales for values that have none")
    if any(header["flags"].tobytes()):
        raise MessageError("message: flags are set that this version does not know")
    if not 0 <= header["nnz"] <= header["size"]:
        raise MessageError(f"message: {header['nnz']} coordinates of {header['size']}")
    if header["weight_kind"] != ONE_WEIGHT and header["weight"] < 0:
        raise MessageError(f"message: {header['weight']} bytes of weights")


def _check_table(table: AnyArray) -> None:
    """Raise MessageError if an entry of `table` is invalid or the segments overlap."""
    if table.size == 0:
        return
    if table["kind"].max() >= len(KINDS):
        raise MessageError(f"message: segment of unknown kind {table['kind'].max()}")
    if table["spare"].any() or any(table["flags"].tobytes()):
        raise MessageError("message: a segment has flags that this version does not know")
    if table["kept"].min() <= 0 or table["support"].min() < 0:
        raise MessageError("message: a segment with no units or a negative size")
    ordered = (table["first"] <= table["stop"]).all()
    if not ordered or (table["first"][1:] < table["stop"][:-1]).any():
        raise MessageError("message: its segments overlap or are out of order")
