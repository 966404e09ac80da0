"""16-bit values: float16 and bfloat16 by explicit bit arithmetic, the same on every machine.

float32 values are passed as their bits, uint32[n]. Rounding is to nearest, ties to even. A
number that is too large becomes infinite. A NaN stays NaN and keeps the upper bits of its
payload. Each loop reads 4 and writes 2 bytes per value, or the other way round.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._jit import kernel

_BLOCK = 1024  # values whose sums stay in the nearest cache


@kernel
def to_bfloat16(bits: NDArray[np.uint32], out: NDArray[np.uint16]) -> None:
    """Round float32 to bfloat16: its upper 16 bits.

    Parameters
    ----------
    bits : uint32[n]
    out : uint16[n], changed in place
    """
    for i in range(out.size):
        sign = (bits[i] >> np.uint32(16)) & np.uint32(0x8000)
        size = bits[i] & np.uint32(0x7FFFFFFF)
        upper = size >> np.uint32(16)
        rounded = (size + np.uint32(0x7FFF) + (upper & np.uint32(1))) >> np.uint32(16)
        is_nan = size > np.uint32(0x7F800000)
        out[i] = np.uint16(sign | (upper | np.uint32(0x40) if is_nan else rounded))


@kernel
def from_bfloat16(halves: NDArray[np.uint16], out: NDArray[np.uint32]) -> None:
    """Widen bfloat16 to float32, exactly.

    Parameters
    ----------
    halves : uint16[n]
    out : uint32[n], changed in place
    """
    for i in range(out.size):
        out[i] = np.uint32(halves[i]) << np.uint32(16)


@kernel
def to_float16(bits: NDArray[np.uint32], out: NDArray[np.uint16]) -> None:
    """Round float32 to IEEE 754 binary16.

    Parameters
    ----------
    bits : uint32[n]
    out : uint16[n], changed in place

    Notes
    -----
    Three cases are computed for every value before one is chosen, so that the loop
    vectorises: numbers from 2**-14 up only lose digits; smaller ones become multiples
    of 2**-24; infinities and NaN keep an exponent of ones.
    """
    sums = np.empty(_BLOCK, np.float32)
    for i in range(0, out.size, _BLOCK):
        end = min(i + _BLOCK, out.size)
        _round(bits[i:end], sums, out[i:end])


@kernel
def _round(bits: NDArray[np.uint32], sums: NDArray[np.float32], out: NDArray[np.uint16]) -> None:
    """Round one block for `to_float16`; `sums` is scratch memory."""
    words = sums.view(np.uint32)
    for i in range(out.size):
        size = np.uint32(bits[i] & np.uint32(0x7FFFFFFF))
        odd = np.uint32((size >> np.uint32(13)) & np.uint32(1))
        # The exponent's bias is 15 instead of 127. The casts keep the compiler to 32 bits.
        large = np.uint32(max(size, np.uint32(113 << 23)) - np.uint32(112 << 23))
        normal = np.uint32(np.uint32(large + np.uint32(0xFFF) + odd) >> np.uint32(13))
        # The last digit of a float32 from 0.5 to 1 is 2**-24, so this sum is rounded to it.
        words[i] = min(size, np.uint32(113 << 23))
        sums[i] = sums[i] + np.float32(0.5)
        tiny = np.uint32(words[i] - np.uint32(126 << 23))
        payload = np.uint32((size >> np.uint32(13)) & np.uint32(0x3FF))
        result = normal if size >= np.uint32(113 << 23) else tiny
        result = np.uint32(0x7C00) if size >= np.uint32(143 << 23) else result
        result = np.uint32(np.uint32(0x7E00) | payload) if size > np.uint32(0x7F800000) else result
        sign = np.uint32((bits[i] >> np.uint32(16)) & np.uint32(0x8000))
        out[i] = np.uint16(result | sign)


@kernel
def from_float16(halves: NDArray[np.uint16], out: NDArray[np.float32]) -> None:
    """Widen IEEE 754 binary16 to float32, exactly.

    Parameters
    ----------
    halves : uint16[n]
    out : float32[n], changed in place
    """
    words = out.view(np.uint32)
    for i in range(out.size):
        size = np.uint32(halves[i]) & np.uint32(0x7FFF)
        sign = (np.uint32(halves[i]) & np.uint32(0x8000)) << np.uint32(16)
        # Read as float32, the digits are 2**-112 times the value, and multiplying by a power
        # of two is exact. An exponent of ones is corrected afterwards.
        words[i] = size << np.uint32(13)
        out[i] = out[i] * np.float32(2.0**112)
        special = np.uint32(0x7F800000) if size >= np.uint32(0x7C00) else np.uint32(0)
        words[i] = words[i] | special | sign
