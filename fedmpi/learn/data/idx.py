"""The IDX format of MNIST and its successors, plain or packed with gzip.

A file has a big-endian header (two zero bytes, a type code, the number of dimensions,
each dimension as uint32), then the values in C order. Y. LeCun, C. Cortes, C. Burges,
"The MNIST database of handwritten digits".

The header is not trusted: memory is allocated only after the size that it claims has
been compared with the size of the file.
"""

import gzip
import struct
import zlib
from math import prod
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from fedmpi.arrays import AnyArray
from fedmpi.errors import DataError

TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
LARGEST = 4 << 30  # most bytes of an array
DEFLATE_RATIO = 1032  # nothing packed by deflate unpacks to more than this many times its size
_CHUNK = 16 << 20
_Stream: TypeAlias = IO[bytes] | gzip.GzipFile


def read(
    path: Path, shape: tuple[int | None, ...] | None = None, dtype: str | None = None
) -> AnyArray:
    """Return the array in an IDX file, in the machine's byte order.

    Parameters
    ----------
    path : Path
        The file, which is unpacked if it begins like a gzip file.
    shape : tuple, optional
        The required shape; None in it stands for any size.
    dtype : str, optional
        The required numpy type, for example "uint8".

    Raises
    ------
    DataError
        If the file is not an IDX file, is truncated, has bytes left over, or has the
        wrong shape or type. The message names the file.
    """
    size = path.stat().st_size
    with open(path, "rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        try:
            if not packed:
                return _read(path, plain, size, shape, dtype)
            with gzip.GzipFile(fileobj=plain) as stream:
                return _read(path, stream, size * DEFLATE_RATIO, shape, dtype)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path}: broken gzip file ({error}); fetch it again") from None


def _read(
    path: Path, stream: _Stream, most: int, shape: tuple[int | None, ...] | None,
    dtype: str | None,
) -> AnyArray:
    kind, dims, header = _header(path, stream)
    fits = shape is None or (
        len(shape) == len(dims) and all(want in (None, dim) for want, dim in zip(shape, dims))
    )
    if not fits or dtype not in (None, kind.name):
        raise DataError(
            f"{path}: holds {kind.name}{list(dims)}, must be {dtype or 'any type'}"
            f"{list(shape) if shape else ''}"
        )
    wanted = prod(dims) * kind.itemsize
    if wanted > LARGEST or wanted + header > most:
        raise DataError(
            f"{path}: the header claims {'x'.join(map(str, dims))} {kind.name}, {wanted:,} bytes, "
            f"more than the file can hold ({min(most, LARGEST):,}); it is damaged"
        )
    content = bytearray()
    while chunk := stream.read(min(_CHUNK, wanted + 1 - len(content))):
        content += chunk
    if len(content) != wanted:
        found = f"only {len(content):,}" if len(content) < wanted else "more"
        raise DataError(f"{path}: the header promises {wanted:,} bytes of values, found {found}")
    return np.frombuffer(content, kind).reshape(dims).astype(kind.newbyteorder("="), copy=False)


def _header(path: Path, stream: _Stream) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in TYPES or not 1 <= start[3] <= 4:
        raise DataError(f"{path}: begins with {start.hex() or 'nothing'}, so it is not an IDX file")
    dims = stream.read(4 * start[3])
    if len(dims) < 4 * start[3]:
        raise DataError(f"{path}: ends inside its IDX header")
    return np.dtype(TYPES[start[2]]), struct.unpack(f">{start[3]}I", dims), 4 + len(dims)

