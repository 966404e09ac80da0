"""The loss of a batch, between the forward and the backward pass: a kernel, or a loss of torch.

A loss without a kernel, such as one of the user's code, is differentiated by torch on the outputs
alone. The network remains on the kernels.
"""

from contextlib import nullcontext
from typing import TypeAlias

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Bools
from fedmpi.learn.draws import Draws
from fedmpi.learn.fast.frame import Frame
from fedmpi.learn.losses import loss_of

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


def batch_loss(
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
        The source of the random numbers that a loss of torch draws.

    Raises
    ------
    ValueError
        If the targets do not fit the outputs.
    """
    out = frame.values[-1]
    if labels is not None:
        frame.outputs()[~labels] = 0
    if error in _KERNELS:
        name, kind, how = _KERNELS[error]
        places = frame.place[out], frame.grad[out], out.channels, frame.lanes
        targets: AnyArray = np.ascontiguousarray(y, kind)
        loss = float(getattr(kernels.loss, name)(frame.memory, *places, targets, *how))
    elif loss_of(error).target == "tokens":
        raise ValueError(f"the kernels cannot compute the error {error}, whose targets are tokens")
    else:
        loss = _by_torch(frame, error, y, draws)
    if labels is not None:
        frame.outputs(gradient=True)[~labels] = 0
    return loss


def _by_torch(frame: Frame, name: str, y: AnyArray, draws: Draws | None) -> float:
    """Return the loss `name` of a batch, and write its gradient with respect to the outputs."""
    from fedmpi.learn.loss_functions import with_gradient  # needs torch

    gradient = frame.outputs(gradient=True)
    with nullcontext() if draws is None else draws.next_pass():
        loss, found = with_gradient(name, frame.outputs()[:, : len(y)].T, y)
    gradient[:, len(y) :] = 0
    gradient[:, : len(y)] = found.T
    return loss
