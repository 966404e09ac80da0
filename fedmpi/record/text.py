"""Texts as HDF5 stores them, UTF-8 of fixed length."""

from typing import Any

import h5py
import numpy as np

from fedmpi.arrays import AnyArray


def text_array(texts: Any, length: int | None = None) -> AnyArray:
    """Return texts as an array of UTF-8 of `length` bytes; a longer text is cut and ends in "…"."""
    # Paths may hold characters that UTF-8 cannot encode, which become question marks.
    if isinstance(texts, np.ndarray) and texts.dtype.kind == "U" and length is None:
        found = np.char.encode(texts, "utf-8", "replace")  # without a Python step for each text
        return found.astype(h5py.string_dtype("utf-8", max(found.dtype.itemsize, 1)))
    texts = np.asarray(texts, dtype=object)
    coded = [str(text).encode(errors="replace") for text in texts.ravel()]
    length = length or max([1, *map(len, coded)])
    mark = "…".encode() if length > 8 else b""
    coded = [c if len(c) <= length else
             c[: length - len(mark)].decode(errors="ignore").encode() + mark for c in coded]
    return np.array(coded, dtype=h5py.string_dtype("utf-8", length)).reshape(texts.shape)
