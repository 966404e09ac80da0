"""One number that tells whether two models are the same to the last bit."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fedmpi.arrays import AnyArray


def weights_sha256(arrays: Mapping[str, AnyArray]) -> str:
    """Return the SHA-256, in hex, of a dict of numeric arrays by name.

    Over the arrays in the order of their names: the name, the numpy dtype (little-endian) and
    the shape as text, each ended by a zero byte, then the values, row by row, little-endian.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = little_endian(arrays[name])
        shape = ",".join(map(str, array.shape))
        digest.update(f"{name}\0{array.dtype.str}\0{shape}\0".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def number_type(text: object) -> np.dtype[Any]:
    """Return the numpy dtype that `text` names, "<f4" for example, one of `little_endian` arrays.

    Raises ValueError for all else: what numpy.dtype understands is a language of its own.
    """
    if not isinstance(text, str) or not re.fullmatch(r"[<|][biuf][1248]", text):
        raise ValueError(f"{str(text)[:20]!r} is not a type of number")
    try:
        return np.dtype(text)
    except TypeError as error:  # there is no "<f1"
        raise ValueError(str(error)) from None


def little_endian(array: ArrayLike) -> AnyArray:
    """Return `array` as a contiguous little-endian array; a copy only if it is not one yet."""
    array = np.asarray(array)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
