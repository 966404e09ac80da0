"""The backward pass as a list of kernel calls."""

import numpy as np

from fedmpi import kernels
from fedmpi.learn.fast.chain import Add, Conv, Linear, MaxPool, MeanPool, Norm
from fedmpi.learn.fast.forward import NONE, Call, floor_of
from fedmpi.learn.fast.geometry import correlation, gather, scatter
from fedmpi.learn.fast.sparse import mix, picks


def backward(frame, weights, grad, rows, lowest, mask=None, update=None):
    """Return the calls of the backward pass, from the gradient of the output on.

    Parameters
    ----------
    frame : Frame
    weights, grad : float32[P]
        Bound to the calls. What is not differentiated is not touched in `grad`, the rest is
        overwritten.
    rows : tuple per layer of None or int64[.]
        The kept rows. The gradient of a dropped row is neither read nor computed, so a
        layer costs the share of its own rows that is kept, and for its input gradient
        also the share of the rows below.
    lowest : int
        Layers below this one are not differentiated.
    mask, update : uint8[P], optional
        0 where the weights are 0 whenever the calls are run, and where the gradient of a weight
        is not wanted.
    """
    back = _Back(frame, weights, grad, rows, lowest)
    back.mask, back.update = mask, update
    for step in reversed(frame.steps):
        if back.wanted(step.out):
            back.layer = step.layer
            _STEPS[type(step)](back, step)
    _statistics(back)
    return back.calls


class _Back:
    """What the steps of one backward pass share."""

    def __init__(self, frame, weights, grad, rows, lowest):
        self.frame, self.weights, self.grad = frame, weights, grad
        self.memory = frame.memory
        self.rows, self.lowest = rows, lowest
        self.calls, self.layer = [], -1
        self.mask = self.update = None
        self._written = set()
        self._wanted, self._kept = {frame.values[0]: False}, {frame.values[0]: None}
        for step in frame.steps:
            self._look(step)

    def _look(self, step):
        """Note whether the gradient of a step's output is wanted, and in which channels."""
        below = self.wanted(step.source) or (isinstance(step, Add) and self.wanted(step.other))
        kept = None if isinstance(step, Add) else self.kept(step.source)
        self._wanted[step.out] = below or step.layer >= self.lowest
        self._kept[step.out] = self.rows[step.layer] if step.layer >= 0 else kept

    def wanted(self, value):
        """True if something below is trained."""
        return self._wanted[value.like or value]

    def kept(self, value):
        """The channels whose gradient is wanted: int64[.], or None for all."""
        if value.like is None:
            return self._kept[value]
        kept, size = self._kept[value.like], value.like.height * value.like.width
        return None if kept is None else (kept[:, None] * size + np.arange(size)).reshape(-1)

    def of(self, value):
        """The channels whose gradient is wanted: int64[.]."""
        kept = self.kept(value)
        return np.arange(value.channels) if kept is None else kept

    def call(self, kernel, *arguments):
        """Append a call."""
        self.calls.append(Call(kernel, arguments, self.layer))

    def first(self, value):
        """True if nothing has been written to the gradient of a value; now something is."""
        value = value.like or value
        new = value not in self._written
        self._written.add(value)
        return new

    def cleared(self, value):
        """See to it that the gradient of a value can be added to."""
        if self.first(value):
            places = np.array([self.frame.grad[value]])
            self.call(kernels.batch_last.clear, self.memory, places, self.frame.size(value))


def _conv(back, step):
    frame, kept = back.frame, back.of(step.out)
    out, source = frame.planes[step.out], frame.planes[step.source]
    taps = step.window.taps
    left = frame.channels(step.out, kept, gradient=True)
    if step.layer >= back.lowest:
        right, columns, runs, parts = correlation(
            step.window, out, source, step.source.channels, step.out.channels
        )
        right = right + frame.place[step.source]
        size = step.source.channels * taps
        _weights(back, step, left, kept, size, right, columns, runs, parts)
    if not back.wanted(step.source):
        return
    numbers, offsets, runs = scatter(step.window, source, out)
    inputs = back.of(step.source)
    parts = (
        frame.channels(step.source, inputs, gradient=True),
        step.weight + inputs * taps,
        inputs,
        kept * step.source.channels * taps,
        left,
        numbers,
        offsets,
        runs,
    )
    _pass_down(back, step, parts)


def _linear(back, step):
    frame, kept, inputs = back.frame, back.of(step.out), step.source.channels
    left = frame.channels(step.out, kept, gradient=True)
    if step.layer >= back.lowest:
        _linear_weights(back, step, left, kept)
    if not back.wanted(step.source):
        return
    wanted = back.of(step.source)
    parts = (
        frame.channels(step.source, wanted, gradient=True),
        step.weight + wanted,
        wanted,
        np.zeros(1, np.int64),
        np.zeros(1, np.int64),
        kept * inputs,
        left,
        np.array([(0, 0, frame.lanes, 0, len(kept))]),
    )
    _pass_down(back, step, parts)


def _linear_weights(back, step, left, kept):
    """The input is turned so that 16 weights of a row are neighbours in a register."""
    frame, inputs, width = back.frame, step.source.channels, back.frame.lanes
    if inputs < 16 or picks(back.update, step):
        right = kernels.tables.padded(frame.channels(step.source))
        columns = kernels.tables.padded(np.arange(inputs), -1)
        parts = np.array([(0, inputs, 0, 1)])
        _weights(back, step, left, kept, inputs, right, columns, np.array([(0, 0, width)]), parts)
        return
    pitch = -(-inputs // 16) * 16
    source = frame.place[step.source]
    back.call(kernels.batch_last.transpose, back.memory, frame.turned, source, inputs, width, pitch)
    samples = np.arange(width)
    tables = kernels.tables.mix_table(
        step.weight + kept * inputs,
        left,
        left,
        np.zeros(1, np.int64),
        np.full(1, frame.turned),
        samples,
        samples * pitch,
        np.array([(0, 0, inputs, 0, width)]),
    )
    back.call(kernels.conv.mix, back.grad, back.memory, back.memory, tables, 0, NONE, 0)
    _bias(back, step, left, kept)


def _weights(back, step, left, kept, size, right, columns, runs, parts):
    """The gradient of `kept` rows of `size` weights each."""
    places = step.weight + kept * size
    parts = left, places, right, columns, runs, parts
    if picks(back.update, step):
        kernel, table = kernels.kept.correlate, kernels.kept.correlate_table(back.update, *parts)
    else:
        kernel, table = kernels.conv.correlate, kernels.tables.correlate_table(*parts)
        back.call(kernels.batch_last.clear, back.grad, places, size)
    back.call(kernel, back.grad, back.memory, back.memory, table)
    _bias(back, step, left, kept)


def _bias(back, step, left, kept):
    if step.bias >= 0:
        size = back.frame.planes[step.out].size
        back.call(kernels.conv.row_sums, back.grad, step.bias + kept, back.memory, left, size)


def _pass_down(back, step, parts):
    kernel, table = mix(back.mask, step, parts)
    start = 0 if back.first(step.source) else 2
    gate = back.frame.gate(step.source)
    back.call(kernel, back.memory, back.memory, back.weights, table, start, NONE, gate)


def _max_pool(back, step):
    frame, window = back.frame, step.window
    out, source = frame.planes[step.out], frame.planes[step.source]
    _, offsets, runs = gather(window, out, source)
    covered = tuple(k * n for k, n in zip(window.kernel, (out.height, out.width), strict=True))
    apart = window.apart and covered == (source.height, source.width)
    if not (apart and back.first(step.source)):
        apart = False
        back.cleared(step.source)
    kept = back.of(step.out)
    places = [
        frame.channels(value, kept, gradient)
        for gradient in (False, True)
        for value in (step.out, step.source)
    ]
    floor = floor_of(step.out, step.source)
    back.call(kernels.pool.largest_back, back.memory, *places, offsets, runs, floor, apart)


def _mean_pool(back, step):
    frame, kept = back.frame, back.of(step.source)
    _, offsets, runs = gather(step.window, frame.planes[step.out], frame.planes[step.source])
    back.cleared(step.source)
    up = frame.channels(step.out, kept + step.skip, gradient=True)
    down = frame.channels(step.source, kept, gradient=True)
    share, gate = 1.0 / np.prod(step.window.kernel), frame.gate(step.source)
    back.call(kernels.pool.mean_back, back.memory, up, down, offsets, runs, share, gate)


def _norm(back, step):
    frame, kept = back.frame, back.of(step.out)
    if len(kept) < step.out.channels and not step.joined:
        back.cleared(step.source)
    planes = (
        frame.channels(step.source, kept),
        frame.channels(step.out, kept, gradient=True),
        frame.channels(step.source, kept, gradient=True),
    )
    back.call(
        kernels.norm.normalise_back, back.memory, *planes, frame.planes[step.out].size, frame.mask,
        back.weights, back.grad, step.places[0] + kept, step.places[1] + kept, frame.saved[step],
        kept, step.epsilon, step.layer >= back.lowest, back.first(step.source),
        frame.gate(step.source),
    )  # fmt: skip


def _add(back, step):
    frame, size = back.frame, back.frame.size(step.out)
    up = frame.grad[step.out]
    for value in (step.source, step.other):
        fresh = back.first(value)
        if back.wanted(value) and frame.grad[value] != up:
            gate = frame.gate(value)
            back.call(
                kernels.batch_last.pass_on, back.memory, frame.grad[value], up, size, fresh, gate
            )


def _statistics(back):
    """Running moments move where rows are trained."""
    for step in back.frame.steps:
        if isinstance(step, Norm) and step.layer >= back.lowest:
            kept = back.of(step.out)
            _, _, mean, variance = (place + kept for place in step.places)
            size = back.frame.planes[step.out].size
            arguments = mean, variance, back.frame.saved[step], kept, back.frame.mask, size
            back.call(kernels.norm.track, back.weights, *arguments, step.rate)


_STEPS = {
    Conv: _conv,
    Linear: _linear,
    MaxPool: _max_pool,
    MeanPool: _mean_pool,
    Norm: _norm,
    Add: _add,
}
