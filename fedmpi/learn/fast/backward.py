"""The backward pass as a list of kernel calls."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Flags, Integers, Vector
from fedmpi.learn.fast.frame import Frame
from fedmpi.learn.fast.step import Call, Kernel, Step, Value

Rows: TypeAlias = Sequence[Integers | None]
"""The kept rows of each layer, int64[.], or None for all."""


def backward(
    frame: Frame, weights: Vector, grad: Vector, rows: Rows, lowest: int,
    mask: Flags | None = None, update: Flags | None = None,
) -> list[Call]:
    """Return the calls of the backward pass, from the gradient of the output on.

    Parameters
    ----------
    frame : Frame
    weights, grad : float32[P]
        Bound to the calls. Entries of `grad` that are not differentiated do not change; the others
        are overwritten.
    rows : tuple per layer of None or int64[.]
        The kept rows. The gradient of a dropped row is neither read nor computed, so the
        cost of a layer is proportional to the share of its kept rows; that of its input
        gradient also to the share of kept rows in the layer below.
    lowest : int
        Layers below this one are not differentiated.
    mask, update : uint8[P], optional
        `mask` is 0 where weights are 0 whenever the calls run; `update` is 0 where the gradient
        of a weight is not needed.
    """
    back = Back(frame, weights, grad, rows, lowest, mask, update)
    for step in reversed(frame.steps):
        if back.wanted(step.out):
            back.layer = step.layer
            step.backward(back)
    for step in frame.steps:
        step.after(back)
    return back.calls


class Back:
    """The state that the steps of one backward pass share; parameters are those of `backward`.

    Attributes
    ----------
    calls : list of Call
        The calls so far.
    layer : int
        The layer to which new calls belong.
    """

    def __init__(
        self, frame: Frame, weights: Vector, grad: Vector, rows: Rows, lowest: int,
        mask: Flags | None, update: Flags | None,
    ) -> None:
        self.frame, self.weights, self.grad = frame, weights, grad
        self.memory, self.mask, self.update = frame.memory, mask, update
        self.rows, self.lowest = rows, lowest
        self.calls: list[Call] = []
        self.layer = -1
        self._written: set[Value] = set()
        self._wanted = {frame.values[0]: False}
        self._kept: dict[Value, Integers | None] = {frame.values[0]: None}
        for step in frame.steps:
            self._look(step)

    def _look(self, step: Step) -> None:
        """Record whether the gradient of a step's output is needed, and for which channels."""
        below = any(self.wanted(value) for value in step.sources)
        self._wanted[step.out] = below or step.layer >= self.lowest
        self._kept[step.out] = step.needed(self)

    def wanted(self, value: Value) -> bool:
        """Return True if the gradient of a value is needed, because something below is trained."""
        return self._wanted[value.like or value]

    def kept(self, value: Value) -> Integers | None:
        """Return the channels of a value whose gradient is needed, int64[.], or None for all."""
        if value.like is None:
            return self._kept[value]
        kept, size = self._kept[value.like], value.like.height * value.like.width
        return None if kept is None else (kept[:, None] * size + np.arange(size)).reshape(-1)

    def of(self, value: Value) -> Integers:
        """Return the channels of a value whose gradient is needed, int64[.]."""
        kept = self.kept(value)
        return np.arange(value.channels) if kept is None else kept

    def call(self, kernel: Kernel, *arguments: Any) -> None:
        """Append a call."""
        self.calls.append(Call(kernel, arguments, self.layer))

    def first(self, value: Value) -> bool:
        """Return True if the gradient of a value is unwritten, and mark it as written."""
        value = value.like or value
        new = value not in self._written
        self._written.add(value)
        return new

    def cleared(self, value: Value) -> None:
        """Append a call that clears the gradient of a value, unless it is already written."""
        if self.first(value):
            places = np.array([self.frame.grad[value]])
            self.call(kernels.batch_last.clear, self.memory, places, self.frame.size(value))

