"""The counter-based generator of `fedmpi.rng`, four words at a time, for use in other kernels.

Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011:
Philox4x64-10. The words are those of numpy's `Philox` with the same key and counter.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from fedmpi.kernels._jit import kernel
from fedmpi.kernels._llvm import I64, vectorised

FIRST, SECOND = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
ROUNDS = 10
WORD = (1 << 64) - 1
_SHIFT, _UNIT = np.uint64(11), 2.0**-53  # a double has 53 bits


def _emit_high(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    wide = ir.IntType(128)
    product = b.mul(b.zext(x, wide), b.zext(y, wide))
    return b.trunc(b.lshr(product, ir.Constant(wide, 64)), I64)


@vectorised(_emit_high, types.uint64)
def _high(x: np.uint64, y: np.uint64) -> np.uint64:
    """Return the high word of the product of two words."""
    return np.uint64(int(x) * int(y) >> 64)


@vectorised(lambda b, x, y: b.mul(x, y), types.uint64)
def _low(x: np.uint64, y: np.uint64) -> np.uint64:
    """Return the low word of the product of two words."""
    return np.uint64(int(x) * int(y) & WORD)


@kernel
def block(
    keys: NDArray[np.uint64], number: np.uint64, round: np.uint64, client: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Return the four words of block `number` (from 0) of the stream of a round and client.

    `keys` uint64[10, 2] are the generator's round keys; all other values are uint64.
    """
    # numpy's generator counts up before each block.
    a, b, c, d = number + np.uint64(1), np.uint64(0), round, client
    for i in range(ROUNDS):
        high, low = _high(FIRST, a), _low(FIRST, a)
        a, b, c, d = _high(SECOND, c) ^ b ^ keys[i, 0], _low(SECOND, c), high ^ d ^ keys[i, 1], low
    return a, b, c, d


@kernel
def unit(word: np.uint64) -> float:
    """Return a word as a number in [0, 1), as numpy's `random` does."""
    return np.float64(word >> _SHIFT) * _UNIT
