"""The counter-based generator of `fedmpi.rng`, for many clients at once (kernels/_counter.py)."""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._counter import ROUNDS, WORD, block, unit
from fedmpi.kernels._jit import kernel

BUMPS = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B  # added to the key's words from round to round


def round_keys(low: int, high: int) -> NDArray[np.uint64]:
    """Return uint64[10, 2]: the keys of all rounds, from the two words of a generator's key."""
    keys = [[(word + i * bump) & WORD for word, bump in zip((low, high), BUMPS)]
            for i in range(ROUNDS)]  # fmt: skip
    return np.array(keys, np.uint64)


@kernel
def uniforms(
    out: NDArray[np.float64], keys: NDArray[np.uint64], round: np.uint64, clients: NDArray[np.int64]
) -> None:
    """Write into `out` float64[n, 4] the first four numbers of each client's stream.

    `keys` uint64[10, 2], `round` uint64, `clients` int64[n].
    """
    for i in range(len(clients)):
        words = block(keys, np.uint64(0), round, np.uint64(clients[i]))
        for j in range(4):
            out[i, j] = unit(words[j])
