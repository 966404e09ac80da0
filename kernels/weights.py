"""Coding of a message's weights, of which few are distinct, in one byte each."""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._jit import kernel

CLASSES = 256
_SLOTS = 1024


@kernel
def classify(weights: NDArray[np.int64], table: NDArray[np.int64], codes: NDArray[np.uint8]) -> int:
    """Number the distinct weights in the order in which they first occur.

    Parameters
    ----------
    weights : int64[m]
    table : int64[256], changed in place
        The distinct weights.
    codes : uint8[m], changed in place
        weights[j] = table[codes[j]].

    Returns
    -------
    int64
        The number of distinct weights, or -1 if there are more than 256.

    Notes
    -----
    Uses a hash table of 1,024 slots with linear probing. Equal weights come in runs, so most
    need no search. Memory traffic: 9 bytes per weight.
    """
    slots = np.full(_SLOTS, -1, np.int16)
    count, code = 0, 0
    for j in range(weights.size):
        if j == 0 or weights[j] != weights[j - 1]:
            slot = _hash(np.uint64(weights[j]))
            while slots[slot] >= 0 and table[slots[slot]] != weights[j]:
                slot = (slot + np.uint64(1)) & np.uint64(_SLOTS - 1)
            code = slots[slot]
            if code < 0:
                if count == CLASSES:
                    return -1
                code = count
                slots[slot] = code
                table[code] = weights[j]
                count += 1
        codes[j] = code
    return count


@kernel
def _hash(word: np.uint64) -> np.uint64:
    """Return the slot, below 1,024, at which the search for a uint64 begins."""
    word ^= (word >> np.uint64(10)) ^ (word >> np.uint64(20)) ^ (word >> np.uint64(40))
    return word & np.uint64(_SLOTS - 1)
