"""The mean loss of a batch of outputs, and its gradient with respect to the outputs."""

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
    _clear_rest(memory, grad, classes, width, y.size)
    return total / max(y.size, 1)


@kernel
def of_class(
    memory: NDArray[np.float32], outputs: int, grad: int, classes: int, width: int,
    y: NDArray[np.int64], soft: bool, squared: bool,
) -> float:
    """Return the mean error of a batch of activities and write its gradient to the outputs.

    A sample's activities o are the softmax of its outputs if `soft`, else the sigmoid of each. t is
    1 for its class and 0 for all others. Its error is sum (o - t)^2 if `squared`, else
    sum |o - t|, whose derivative is 0 where o = t. The gradient is 0 for lanes n >= N.

    Parameters
    ----------
    memory : float32[.], changed in place
    outputs, grad : int
        Offsets of float32[classes, width] in `memory`.
    classes, width : int
    y : int64[N]
        Each in [0, classes); N at most `width`.
    soft, squared : bool

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
    These are the errors of Skeletonization (Mozer and Smolensky, NIPS 1988). Activities are rounded
    to float32 (before they are divided by their sum, if `soft`); all else is float64.
    """
    if y.size > width:
        raise ValueError("of_class: more labels than lanes")
    total = 0.0
    share = 1.0 / max(y.size, 1)
    for n in range(y.size):
        if y[n] < 0 or y[n] >= classes:
            raise ValueError("of_class: label out of range")
        if soft:
            mass = _exponentials(memory, outputs + n, grad + n, classes, width)
        else:
            mass = _sigmoids(memory, outputs + n, grad + n, classes, width)
        mean = 0.0
        for k in range(classes):
            activity = memory[grad + k * width + n] / mass
            miss = activity - np.float64(k == y[n])
            total += miss * miss if squared else abs(miss)
            mean += activity * (2.0 * miss if squared else np.sign(miss))
        for k in range(classes):
            activity = memory[grad + k * width + n] / mass
            miss = activity - np.float64(k == y[n])
            slope = 2.0 * miss if squared else np.sign(miss)
            slope = slope - mean if soft else slope * (1.0 - activity)
            memory[grad + k * width + n] = share * activity * slope
    _clear_rest(memory, grad, classes, width, y.size)
    return total * share


@kernel
def _exponentials(
    memory: NDArray[np.float32], outputs: int, out: int, classes: int, width: int
) -> float:
    """Write exp(output - largest output) of one sample; return their sum."""
    top = memory[outputs]
    for k in range(1, classes):
        value = memory[outputs + k * width]
        top = value if not value <= top else top
    mass = 0.0
    for k in range(classes):
        value = np.exp(np.float32(memory[outputs + k * width] - top))
        memory[out + k * width] = value
        mass += value
    return mass


@kernel
def _sigmoids(
    memory: NDArray[np.float32], outputs: int, out: int, classes: int, width: int
) -> float:
    """Write the sigmoid of each output of one sample; return 1."""
    for k in range(classes):
        memory[out + k * width] = _sigmoid(np.float64(memory[outputs + k * width]))
    return 1.0


@kernel
def _sigmoid(value: float) -> float:
    """Return 1 / (1 + exp(-value)), without overflow."""
    small = np.exp(-abs(value))
    found: float = (1.0 if value > 0 else small) / (1.0 + small)
    return found


@kernel
def of_numbers(
    memory: NDArray[np.float32], outputs: int, grad: int, count: int, width: int,
    targets: NDArray[np.float32], crossed: bool,
) -> float:
    """Return the mean error of a batch of numbers and write its gradient to the outputs.

    The error of an output z with target t is the cross-entropy of sigmoid(z) and t if `crossed`,
    else (z - t)^2. The mean is over samples and outputs. The gradient is 0 for lanes n >= N.

    Parameters
    ----------
    memory : float32[.], changed in place
    outputs, grad : int
        Offsets of float32[count, width] in `memory`.
    count, width : int
    targets : float32[N, count]
        N at most `width`.
    crossed : bool

    Returns
    -------
    float
        Summed in float64 in the order of the samples.

    Raises
    ------
    ValueError
        If the samples have another number of targets than `count`, or outnumber the lanes.
    """
    if targets.shape[0] > width or targets.shape[1] != count:
        raise ValueError("of_numbers: targets that do not fit the outputs")
    total = 0.0
    share = 1.0 / max(targets.size, 1)
    for n in range(targets.shape[0]):
        for k in range(count):
            value = np.float64(memory[outputs + k * width + n])
            target = np.float64(targets[n, k])
            if crossed:
                total += max(value, 0.0) - value * target + np.log1p(np.exp(-abs(value)))
                slope = _sigmoid(value) - target
            else:
                total += (value - target) * (value - target)
                slope = 2.0 * (value - target)
            memory[grad + k * width + n] = share * slope
    _clear_rest(memory, grad, count, width, targets.shape[0])
    return total * share


@kernel
def _clear_rest(
    memory: NDArray[np.float32], grad: int, rows: int, width: int, first: int
) -> None:
    """Write 0 to the lanes from `first` on of float32[rows, width] at `grad` in `memory`."""
    for k in range(rows):
        for n in range(first, width):
            memory[grad + k * width + n] = np.float32(0)
