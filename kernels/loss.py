"""Softmax and cross-entropy in one pass."""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._jit import kernel


@kernel
def cross_entropy(
    memory: NDArray[np.float32], logits: int, grad: int, classes: int, width: int,
    y: NDArray[np.int64],
) -> float:
    """Return the mean cross-entropy of a batch and write its gradient with respect to the logits.

    memory[grad + k width + n] = (softmax(logits of sample n)[k] - [k == y[n]]) / N, and 0
    for lanes n >= N.

    Parameters
    ----------
    memory : float32[.], changed in place
    logits, grad : int
        Offsets of float32[classes, width] in `memory`.
    classes, width : int
    y : int64[N]
        Each in [0, classes); N at most `width`.

    Returns
    -------
    float
        Summed in float64 in the order of the samples.

    Raises
    ------
    ValueError
        If a label is out of range, or there are more labels than lanes.

    Notes
    -----
    The largest logit is subtracted first, so nothing overflows. One exp per class and sample.
    """
    if y.size > width:
        raise ValueError("cross_entropy: more labels than lanes")
    total = 0.0
    share = np.float32(1.0 / max(y.size, 1))
    for n in range(y.size):
        if y[n] < 0 or y[n] >= classes:
            raise ValueError("cross_entropy: label out of range")
        top = memory[logits + n]
        for k in range(1, classes):
            value = memory[logits + k * width + n]
            top = value if not value <= top else top
        mass = np.float32(0)
        for k in range(classes):
            value = np.exp(np.float32(memory[logits + k * width + n] - top))
            memory[grad + k * width + n] = value
            mass += value
        for k in range(classes):
            memory[grad + k * width + n] *= share / mass
        memory[grad + y[n] * width + n] -= share
        total += np.log(np.float64(mass)) - np.float64(memory[logits + y[n] * width + n] - top)
    for k in range(classes):
        for n in range(y.size, width):
            memory[grad + k * width + n] = np.float32(0)
    return total / max(y.size, 1)
