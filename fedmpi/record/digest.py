"""A digest that tells whether two models are equal to the last bit."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fedmpi.arrays import AnyArray


def weights_sha256(arrays: Mapping[str, AnyArray]) -> str:
    """Return the SHA-256, in hex, of a dict of numeric arrays by name.

    The digest covers the arrays in the order of their names. For each it takes the name, the numpy
    dtype (little-endian) and the shape as text, each followed by a zero byte, and then the values
    in row-major order, little-endian.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = little_endian(arrays[name])
        shape = ",".join(map(str, array.shape))
        digest.update(f"{name}\0{array.dtype.str}\0{shape}\0".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def number_type(text: object) -> np.dtype[Any]:
    """Return the numpy dtype named by `text`, such as "<f4", if `little_endian` arrays can have it.

    Raises ValueError for any other text, since numpy.dtype would accept far more.
    """
    if not isinstance(text, str) or not re.fullmatch(r"[<|][biuf][1248]", text):
        raise ValueError(f"{str(text)[:20]!r} is not a type of number")
    try:
        return np.dtype(text)
    except TypeError as error:  # for example "<f1", which does not exist
        raise ValueError(str(error)) from None


def little_endian(array: ArrayLike) -> AnyArray:
    """Return `array` as a contiguous little-endian array, and copy it only if needed."""
    array = np.asarray(array)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
