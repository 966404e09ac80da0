"""The curves tanh and sigmoid on planes, forward and backward, with the batch innermost."""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._jit import kernel

# tanh(x) is x P(x^2) / Q(x^2) up to _END, beyond which it is 1 in float32. The coefficients are
# those of Eigen (generic_fast_tanh_float). No call of a library, so bits are the same everywhere.
_END = np.float32(7.90531110763549805)
_P1, _P3 = np.float32(4.89352455891786e-03), np.float32(6.37261928875436e-04)
_P5, _P7 = np.float32(1.48572235717979e-05), np.float32(5.12229709037114e-08)
_P9, _P11 = np.float32(-8.60467152213735e-11), np.float32(2.00018790482477e-13)
_P13 = np.float32(-2.76076847742355e-16)
_Q0, _Q2 = np.float32(4.89352518554385e-03), np.float32(2.26843463243900e-03)
_Q4, _Q6 = np.float32(1.18534705686654e-04), np.float32(1.19825839466702e-06)


@kernel
def activate(
    memory: NDArray[np.float32], out: NDArray[np.int64], src: NDArray[np.int64], size: int,
    sigmoid: bool, floor: float,
) -> None:
    """Write tanh(x), or sigmoid(x) = (1 + tanh(x / 2)) / 2, of each number x of some planes.

    Parameters
    ----------
    memory : float32[.], changed in place
    out, src : int64[C]
        Offsets of the planes of the results and of x.
    size : int
        Floats of a plane.
    sigmoid : bool
    floor : float
        Smaller results become `floor`: 0 for a ReLU, -inf for none.

    Notes
    -----
    The error is below 5e-7. A NaN stays a NaN. Reads and writes 4 bytes per number.
    """
    half, least = np.float32(0.5 if sigmoid else 1.0), np.float32(floor)
    shift = np.float32(0.5 if sigmoid else 0.0)
    for c in range(out.size):
        given, bent = memory[src[c] : src[c] + size], memory[out[c] : out[c] + size]
        for i in range(size):  # without offsets, so that the compiler can use vectors
            x = half * given[i]
            x = _END if x > _END else x
            x = -_END if x < -_END else x
            s = x * x
            p = s * (s * (s * (s * (s * (s * _P13 + _P11) + _P9) + _P7) + _P5) + _P3) + _P1
            q = s * (s * (s * _Q6 + _Q4) + _Q2) + _Q0
            value = shift + half * (x * p / q)
            bent[i] = least if value < least else value


@kernel
def activate_back(
    memory: NDArray[np.float32], out: NDArray[np.int64], up: NDArray[np.int64],
    down: NDArray[np.int64], size: int, sigmoid: bool, fresh: bool, gate: int,
) -> None:
    """Pass the gradient of `activate` down to x.

    Parameters
    ----------
    memory : float32[.], changed in place
    out, up, down : int64[C]
        Offsets of the planes of the results, of their gradient, and of the gradient of x.
    size : int
        Floats of a plane.
    sigmoid : bool
        As for `activate`.
    fresh : bool
        True to overwrite the gradient of x, False to add to it.
    gate : int
        As in `conv.mix`.

    Notes
    -----
    The slope of a result o is 1 - o^2 for tanh and o (1 - o) for sigmoid. Reads 8 to 16 bytes per
    number, writes 4.
    """
    one = np.float32(1)
    for c in range(out.size):
        bent, above = memory[out[c] : out[c] + size], memory[up[c] : up[c] + size]
        below, given = memory[down[c] : down[c] + size], memory[down[c] + gate :]
        for i in range(size):
            o = bent[i]
            value = above[i] * (o * (one - o) if sigmoid else one - o * o)
            value = value if fresh else below[i] + value
            below[i] = value if gate == 0 or given[i] > 0 else np.float32(0)
