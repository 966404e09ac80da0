"""The loss of a batch, between the forward and the backward pass: a kernel, or a loss of torch.

A loss of the user's code is differentiated by torch, on the outputs alone. The network remains on
the kernels.
"""

from contextlib import nullcontext
from typing import TypeAlias

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Bools, Vector
from fedmpi.learn.draws import Draws
from fedmpi.learn.fast.frame import Frame

_Kernel: TypeAlias = tuple[str, type, tuple[bool, ...]]

_KERNELS: dict[str, _Kernel] = {
    "cross-entropy": ("cross_entropy", np.int64, ()),
    "bce": ("of_numbers", np.float32, (True,)),
    "mse": ("of_numbers", np.float32, (False,)),
    "softmax-quadratic": ("of_class", np.int64, (True, True)),
    "softmax-linear": ("of_class", np.int64, (True, False)),
    "sigmoid-quadratic": ("of_class", np.int64, (False, True)),
    "sigmoid-linear": ("of_class", np.int64, (False, False)),
}
"""By the name of a loss: its kernel, the type of its targets, and the kernel's last arguments."""


def lost(
    frame: Frame, y: AnyArray, error: str, labels: Bools | None = None, draws: Draws | None = None
) -> float:
    """Return the mean loss of a batch, and write its gradient with respect to the outputs.

    Parameters
    ----------
    frame : Frame
        Its memory holds the outputs, and gets their gradient; changed in place.
    y : int64[N] or float32[N, outputs]
        The targets.
    error : str
        The name of a loss whose targets are not tokens.
    labels : bool[classes], optional
        Outputs of classes that are False count as 0; they are set to 0 in place.
    draws : Draws, optional
        The source of the random numbers that a loss of the user's code draws.

    Raises
    ------
    ValueError
        If there is no such loss here, or the targets do not fit the outputs.
    """
    out = frame.values[-1]
    places = frame.place[out], frame.grad[out]
    outputs, slope = (
        frame.memory[place : place + frame.size(out)].reshape(out.channels, -1) for place in places
    )
    if labels is not None:
        outputs[~labels] = 0
    if ":" in error:
        loss = _own(error, outputs[:, : len(y)], slope, y, draws)
    elif error in _KERNELS:
        name, kind, how = _KERNELS[error]
        kernel = getattr(kernels.loss, name)
        targets: AnyArray = np.ascontiguousarray(y, kind)
        loss = kernel(frame.memory, *places, out.channels, frame.lanes, targets, *how)
    else:
        raise ValueError(f"there is no kernel for the error {error}")
    if labels is not None:
        slope[~labels] = 0
    return float(loss)


def _own(name: str, outputs: Vector, slope: Vector, y: AnyArray, draws: Draws | None) -> float:
    """Return the loss `name` at float32[D, N] `outputs`; write float32[D, lanes] `slope`."""
    from fedmpi.learn.loss_functions import with_slope  # needs torch

    with nullcontext() if draws is None else draws.next_pass():
        loss, found = with_slope(name, outputs.T, y)
    slope[:, len(y) :] = 0
    slope[:, : len(y)] = found.T
    return loss
