"""The fast engine: the same face as the torch engine, for networks that there are kernels for."""

import numpy as np

from fedmpi import kernels
from fedmpi.learn.fast.backward import backward as backward_calls
from fedmpi.learn.fast.chain import chain_of
from fedmpi.learn.fast.forward import bound
from fedmpi.learn.fast.forward import forward as forward_calls
from fedmpi.learn.fast.frame import LANES, Frame
from fedmpi.learn.layout_of import flat_weights
from fedmpi.plan import FULL

_EVALUATED = 32  # samples evaluated together


class FastEngine:
    """Gradient and outputs of a network, by kernels with the batch innermost.

    `weights` and `grad` are the engine's own float32[P]. A caller who works in them spares
    one copy each way; any other vectors are copied. The own `grad` is for reading: a call writes
    only what it differentiates, and clears the rest only if the call before differentiated
    something else. Memory is taken once for each
    batch size that comes, rounded up to a multiple of 16, and kept.

    The results of a sample do not depend on the others in its batch nor on the batch size (but
    through BatchNorm), and all bits are the same from run to run.

    Parameters
    ----------
    module : torch.nn.Module
        Only its structure and its initial weights are read.
    layout : Layout
        From `layout_of(module, sample)`.
    input_shape : tuple of int
        Of one sample.

    Raises
    ------
    Unsupported
        See `chain_of`.
    """

    def __init__(self, module, layout, input_shape):
        self.layout = layout
        self.weights = flat_weights(module, layout).numpy().copy()
        self.grad = np.zeros(layout.size, np.float32)
        self._values, self._steps = chain_of(module, layout, input_shape)
        self._programs, self._differentiated = {}, None
        self._statistics = [
            slice(t.start, t.start + t.size) for t in layout.tensors if not t.trained
        ]

    def gradient(self, weights, x, y, grad, backward=FULL, activations=None, batch=None):
        """Return the mean cross-entropy of one batch and fill in its gradient.

        Parameters
        ----------
        weights : float32[P]
            Only read, but for running statistics, which are updated in place.
        x : float32[N, ...]
        y : int64[N]
        grad : float32[P]
            Overwritten: the gradient; 0 for running statistics, for dropped rows and
            below the lowest trained layer.
        backward : Backward
            What is differentiated.
        activations : list of float64[rows], optional
            For each layer; |output of the convolution, linear or lone norm layer|, bias
            included and before what follows, is added up over batch and space in place.
        batch : int64[n], optional
            Which of the samples make up the batch; all of them if it is not given.
        """
        self._take(weights)
        if backward is not self._differentiated:
            self.grad.fill(0)
            self._differentiated = backward
        batch = np.arange(len(x)) if batch is None else batch
        program = self._program(len(batch))
        loss = program.gradient(x, y[batch], backward, activations, batch)
        if weights is not self.weights:
            for block in self._statistics:
                weights[block] = self.weights[block]
        if grad is not self.grad:
            np.copyto(grad, self.grad)
        return loss

    def outputs(self, weights, x):
        """Return the outputs float32[N, classes] for x float32[N, ...], in evaluation mode."""
        self._take(weights)
        parts = [x[start : start + _EVALUATED] for start in range(0, len(x), _EVALUATED)]
        return np.concatenate([self._program(len(part)).outputs(part) for part in parts])

    def backward_calls(self, samples, backward=FULL):
        """Return the kernel calls of the backward pass for a batch of `samples`, to be timed."""
        return self._program(samples).backward_for(backward)

    def _take(self, weights):
        if weights is not self.weights:
            np.copyto(self.weights, weights)

    def _program(self, samples):
        lanes = -(-samples // LANES) * LANES
        if lanes not in self._programs:
            frame = Frame(self._values, self._steps, lanes)
            self._programs[lanes] = _Program(frame, self.layout, self.weights, self.grad)
        return self._programs[lanes]


class _Program:
    """The kernel calls for batches of one width, made when first asked for."""

    def __init__(self, frame, layout, weights, grad):
        self._frame, self._layout = frame, layout
        self._weights, self._grad = weights, grad
        self._entry = frame.entry()
        self._forward = forward_calls(frame, weights)
        self._measuring = self._evaluation = None
        self._measured = None, None  # the totals, and the calls that add to them
        self._masked = None, None  # the mask, and the calls for weights under it
        self._backward = {}
        self._samples = 0

    def gradient(self, x, y, backward, activations, batch):
        """Fill the gradient in and return the mean loss of x[batch], y."""
        self._enter(x, batch)
        _run(self._forward_for(activations, backward.mask))
        out, frame = self._frame.values[-1], self._frame
        places = frame.place[out], frame.grad[out], out.channels
        y = np.ascontiguousarray(y, np.int64)
        loss = kernels.loss.cross_entropy(frame.memory, *places, frame.lanes, y)
        _run(self.backward_for(backward))
        return loss

    def outputs(self, x):
        """Return float32[N, classes]."""
        self._enter(x, np.arange(len(x)))
        if self._evaluation is None:
            self._evaluation = forward_calls(self._frame, self._weights, training=False)
        _run(self._evaluation)
        out, frame = self._frame.values[-1], self._frame
        start = frame.place[out]
        block = frame.memory[start : start + frame.size(out)].reshape(out.channels, -1)
        return block[:, : len(x)].T.copy()

    def _enter(self, x, batch):
        frame = self._frame
        if self._samples != len(batch):
            frame.mask[:] = np.arange(frame.lanes) < len(batch)
            self._samples = len(batch)
        flat = np.ascontiguousarray(x, np.float32).reshape(len(x), -1)
        kernels.batch_last.enter(frame.memory, self._entry, flat, batch, frame.lanes)

    def _forward_for(self, activations, mask):
        if activations is None and mask is None:
            return self._forward
        if activations is None:
            if self._masked[0] is not mask:
                self._masked = mask, forward_calls(self._frame, self._weights, mask=mask)
            return self._masked[1]
        if self._measuring is None:
            self._measuring = forward_calls(self._frame, self._weights, measured=True)
        if self._measured[0] is not activations:
            self._measured = activations, bound(self._measuring, activations)
        return self._measured[1]

    def backward_for(self, backward):
        """Return the calls of the backward pass."""
        if backward not in self._backward:
            rows = _kept(self._layout, backward)
            calls = backward_calls(
                self._frame, self._weights, self._grad, rows, backward.lowest,
                backward.mask, backward.update,
            )  # fmt: skip
            # The whole one comes again and again, any other from one client only.
            self._backward = {k: self._backward[k] for k in (FULL,) if k in self._backward}
            self._backward[backward] = calls
        return self._backward[backward]


def _run(calls):
    for kernel, arguments, _ in calls:
        kernel(*arguments)


def _kept(layout, backward):
    """Return for each layer the kept rows int64[.], or None for all; ValueError if one misfits."""
    rows = backward.rows or (None,) * len(layout.layers)
    if len(rows) != len(layout.layers):
        raise ValueError(f"rows of {len(rows)} layers given, the model has {len(layout.layers)}")
    for layer, keep in zip(layout.layers, rows, strict=True):
        if keep is not None and keep.shape != (layer.rows,):
            raise ValueError(f"layer {layer.name}: rows are bool{keep.shape}, not [{layer.rows}]")
    return tuple(None if keep is None or keep.all() else keep.nonzero()[0] for keep in rows)
