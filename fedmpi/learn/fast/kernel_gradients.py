"""Gradients of networks by kernels, with the batch innermost."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Reals, Vector
from fedmpi.layout import Layout
from fedmpi.learn.fast.backward import backward as backward_calls
from fedmpi.learn.fast.batch_loss import batch_loss
from fedmpi.learn.fast.chain import chain_of
from fedmpi.learn.fast.forward import forward as forward_calls
from fedmpi.learn.fast.frame import Frame, aligned, lanes_for
from fedmpi.learn.fast.step import Call, Step, Value
from fedmpi.learn.gradients import Gradients, checked_rows
from fedmpi.plan import FULL, Backward

if TYPE_CHECKING:  # a rank that receives its chain never imports torch
    from torch import nn

_Chain: TypeAlias = tuple[list[Value], list[Step]]
_EVALUATED = 32  # samples evaluated together


class KernelGradients(Gradients):
    """Gradients by kernels.

    A single buffer for activations and their gradients is large enough for the widest batch.
    Batches of the usual size are laid out in it without gaps, others as `frame.lanes_for` says.

    The results of a sample do not depend on the other samples in its batch or on the batch size
    (except through BatchNorm), and all bits are the same from run to run.

    Parameters
    ----------
    layout : Layout
    weights : float32[P]
        The initial weights, which become this object's buffer.
    chain : pair
        Values and steps, from `chain_of`.
    batch_size : int
        The usual batch size, for which the buffer is made; it grows if a larger batch comes. Sums
        over batches of other sizes than multiples of 16 are rounded as this size implies.
    """

    by_shape = True

    def __init__(
        self, layout: Layout, weights: Vector, chain: _Chain, batch_size: int = 1
    ) -> None:
        super().__init__(layout, weights, np.zeros(layout.size, np.float32))
        self._values, self._steps = chain
        self._usual = self._widest = batch_size
        self._memory, self._laid_out = aligned(0), 0  # the buffer, and the width laid out in it
        self._programs: dict[int, _Program] = {}
        self._differentiated = FULL

    @classmethod
    def of(
        cls, module: "nn.Module", layout: Layout, input_shape: Sequence[int], batch_size: int = 1
    ) -> "KernelGradients":
        """Return the KernelGradients of a torch module, with its structure and its weights.

        `layout` is from `layout_of(module, sample)`; `input_shape` is that of one sample. Raises
        Unsupported as `chain_of` does.
        """
        from fedmpi.learn.layout_of import flat_weights  # needs torch, which `serialise` avoids

        weights = flat_weights(module, layout).numpy().copy()
        return cls(layout, weights, chain_of(module, layout, input_shape), batch_size)

    @property
    def chain(self) -> _Chain:
        """(values, steps) of the network."""
        return self._values, self._steps

    def _differentiate(
        self, x: AnyArray, y: AnyArray, backward: Backward, activations: Sequence[Reals] | None,
        error: str,
    ) -> float:
        if backward != self._differentiated:
            self.grad.fill(0)
            self._differentiated = backward
        how = y, error, self._labels, self._draws
        program = self._program(len(x))
        return program.gradient(x, backward, activations, lambda frame: batch_loss(frame, *how))

    def _evaluate(self, x: AnyArray) -> AnyArray:
        parts = [x[start : start + _EVALUATED] for start in range(0, len(x), _EVALUATED)]
        return np.concatenate([self._program(len(part)).outputs(part) for part in parts])

    def backward_calls(self, samples: int, backward: Backward) -> list[Call]:
        """Return the kernel calls of the backward pass for a batch of `samples`, for timing."""
        return self._program(samples).backward_for(backward)

    def _program(self, samples: int) -> "_Program":
        """Return the program for a batch of `samples`, after laying out its width in the buffer."""
        lanes = lanes_for(samples, self._usual)
        program = self._programs.get(lanes) or self._made(lanes)
        if self._laid_out != lanes:
            program.frame.clear()
            self._laid_out = lanes
        return program

    def _made(self, lanes: int) -> "_Program":
        frame = Frame(self._values, self._steps, lanes)
        if frame.floats > len(self._memory):
            # Free the old buffer and the programs bound to it before allocating the new one.
            self._programs.clear()
            self._memory, self._laid_out = aligned(0), 0
            self._widest = max(self._widest, lanes)
            most = max(self._widest, lanes_for(_EVALUATED, self._usual))
            floats = max(frame.floats, Frame(self._values, self._steps, most).floats)
            self._memory = aligned(floats)
        frame.memory = self._memory
        self._programs[lanes] = _Program(frame, self.layout, self.weights, self.grad)
        return self._programs[lanes]


class _Program:
    """The kernel calls for batches of one width, made on first use."""

    def __init__(self, frame: Frame, layout: Layout, weights: Vector, grad: Vector) -> None:
        self.frame, self._layout = frame, layout
        self._weights, self._grad = weights, grad
        self._entry = frame.entry()
        self._forward = forward_calls(frame, weights)
        self._measuring: list[Call] | None = None
        self._evaluation: list[Call] | None = None
        self._totals: list[Reals] = []
        # The last Backward with a mask, and the forward calls for weights under it.
        self._masked: tuple[Backward, list[Call]] = FULL, []
        self._backward: dict[Backward, list[Call]] = {}
        self._all = np.zeros(0, np.int64)  # indices of the samples of the current batch

    def gradient(
        self, x: AnyArray, backward: Backward, activations: Sequence[Reals] | None,
        lose: Callable[[Frame], float],
    ) -> float:
        """Write the gradient and return the mean loss of x, which `lose` computes."""
        self._enter(x)
        if activations is None:
            _run(self._forward if backward.mask is None else self._forward_under(backward))
        else:
            self._measure(activations)
        loss = lose(self.frame)
        _run(self.backward_for(backward))
        return loss

    def outputs(self, x: AnyArray) -> AnyArray:
        """Return the outputs float32[N, classes]."""
        self._enter(x)
        if self._evaluation is None:
            self._evaluation = forward_calls(self.frame, self._weights, training=False)
        _run(self._evaluation)
        return self.frame.outputs()[:, : len(x)].T.copy()

    def _enter(self, x: AnyArray) -> None:
        frame = self.frame
        if frame.samples[0] != len(x):
            frame.samples[0] = len(x)
            frame.mask[:] = np.arange(frame.mask.size) % frame.lanes < len(x)
            self._all = np.arange(len(x))
        flat = np.ascontiguousarray(x, np.float32).reshape(len(x), -1)
        kernels.batch_last.enter(frame.memory, self._entry, flat, self._all, frame.lanes)

    def _measure(self, activations: Sequence[Reals]) -> None:
        """Run the forward pass and add up the activations, in place."""
        if self._measuring is None:
            self._totals = [np.zeros(layer.rows) for layer in self._layout.layers]
            self._measuring = forward_calls(self.frame, self._weights, self._totals)
        # Continue the sums in the buffers bound to the calls, so that they round as one sum does.
        for total, sums in zip(self._totals, activations, strict=True):
            total[:] = sums
        _run(self._measuring)
        for total, sums in zip(self._totals, activations, strict=True):
            sums[:] = total

    def _forward_under(self, backward: Backward) -> list[Call]:
        """Return the calls of the forward pass for weights under a mask."""
        if self._masked[0] != backward:
            calls = forward_calls(self.frame, self._weights, mask=backward.mask)
            self._masked = backward, calls
        return self._masked[1]

    def backward_for(self, backward: Backward) -> list[Call]:
        """Return the calls of the backward pass."""
        if backward not in self._backward:
            rows = tuple(
                None if keep is None else keep.nonzero()[0]
                for keep in checked_rows(self._layout, backward)
            )
            calls = backward_calls(
                self.frame, self._weights, self._grad, rows, backward.lowest,
                backward.mask, backward.update,
            )  # fmt: skip
            # The whole Backward recurs; any other belongs to a single client.
            self._backward = {k: self._backward[k] for k in (FULL,) if k in self._backward}
            self._backward[backward] = calls
        return self._backward[backward]


def _run(calls: Sequence[Call]) -> None:
    for kernel, arguments, _ in calls:
        kernel(*arguments)
