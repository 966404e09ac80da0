"""Rounding of float64 to int64, in loops that become vector code.

AVX-512 has an instruction for this conversion. Elsewhere the compiler would convert the numbers of
a vector in turn, at a third of the speed.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fedmpi.kernels._llvm import I64
from fedmpi.kernels._tile import WIDTH

_HALF = 2.0**32
_MAGIC = 1.5 * 2.0**52  # from 2**52 to 2**53 the last bit of a float64 counts ones
_BITS = int(np.float64(_MAGIC).view(np.int64))


def whole(value: float) -> np.int64:
    """Return the int64 that is nearest to `value`, or the even one of two.

    The magnitude of `value` is at most 2**62.
    """
    return np.int64(np.rint(value))


def _emit(context: Any, b: ir.IRBuilder, called: Any, operands: list[ir.Value]) -> ir.Value:
    """Round the upper and the lower 32 bits, each by adding a number whose last bit counts ones.

    The upper part is the multiple of 2**32 nearest to the value, so it is exact and even; the rest
    is at most 2**31, and exact as well. Rounding the rest therefore rounds the value.
    """
    value, (magic, half, part) = operands[0], (
        ir.Constant(ir.DoubleType(), number) for number in (_MAGIC, _HALF, 1 / _HALF)
    )
    upper = b.fadd(b.fmul(value, part), magic)
    rest = b.fsub(value, b.fmul(b.fsub(upper, magic), half))
    lower = b.fadd(rest, magic)
    high = b.shl(b.bitcast(upper, I64), I64(32))  # the lower half of _BITS is 0
    return b.add(high, b.sub(b.bitcast(lower, I64), I64(_BITS)))


if WIDTH < 16 and not numba.config.DISABLE_JIT:  # type: ignore[attr-defined] # from the environment

    @intrinsic
    def whole(typing: Any, value: Any) -> Any:
        """Compile the function of the same name above."""
        return types.int64(types.float64), _emit
else:
    whole = numba.extending.register_jitable(whole)
