"""The forward pass as a list of kernel calls."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fedmpi import kernels
from fedmpi.learn.fast.chain import Add, Conv, Linear, MaxPool, MeanPool, Norm
from fedmpi.learn.fast.geometry import gather
from fedmpi.learn.fast.sparse import mix

NONE = float("-inf")  # a floor that nothing lies below


class Call(NamedTuple):
    """One kernel call, and the index of the layer it is for (-1 if none)."""

    kernel: Callable
    arguments: tuple
    layer: int


def forward(frame, weights, measured=False, training=True, mask=None):
    """Return the calls of the forward pass.

    Parameters
    ----------
    frame : Frame
    weights : float32[P]
        Bound to the calls; BatchNorm's statistics in it are updated if `training`.
    measured : bool
        Whether the outputs of the layers are measured: then the calls are for `bound`.
    training : bool
    mask : uint8[P], optional
        0 where the weights are 0 whenever the calls are run.
    """
    calls = []
    for step in frame.steps:
        raw = measured and _counted(step)
        made = _STEPS[type(step)](frame, step, weights, training, raw, mask)
        if raw:
            made += _measure(frame, step)
        calls += [Call(*call, step.layer) for call in made]
    return calls


def bound(calls, totals):
    """Return the calls of a measured forward pass, which adds to `totals`.

    `totals` is a list of float64[rows]: for each layer, |output of the layer| is added up in it.
    """
    return [
        call._replace(arguments=(totals[call.layer], *call.arguments))
        if call.kernel is kernels.batch_last.measure
        else call
        for call in calls
    ]


def floor_of(*values):
    """The floor of what follows a ReLU, or of what is followed by one."""
    return 0.0 if any(value.relu for value in values) else NONE


def _conv(frame, step, weights, training, raw, mask):
    out, source, window = frame.planes[step.out], frame.planes[step.source], step.window
    numbers, offsets, runs = gather(window, out, source)
    taps = window.kernel[0] * window.kernel[1]
    rows, columns = np.arange(step.out.channels), np.arange(step.source.channels)
    parts = (
        frame.channels(step.out),
        step.weight + rows * step.source.channels * taps,
        max(step.bias, 0) + rows,
        columns * taps,
        frame.channels(step.source),
        numbers,
        offsets,
        runs,
    )
    return [_mix(frame, step, weights, parts, raw, mask)]


def _linear(frame, step, weights, training, raw, mask):
    inputs, rows = np.arange(step.source.channels), np.arange(step.out.channels)
    parts = (
        frame.channels(step.out),
        step.weight + rows * len(inputs),
        max(step.bias, 0) + rows,
        np.zeros(1, np.int64),
        np.full(1, frame.place[step.source]),
        inputs,
        inputs * frame.lanes,
        np.array([(0, 0, frame.lanes, 0, len(inputs))]),
    )
    return [_mix(frame, step, weights, parts, raw, mask)]


def _mix(frame, step, weights, parts, raw, mask):
    kernel, table = mix(mask, step, parts)
    floor = NONE if raw else floor_of(step.out)
    start = int(step.bias >= 0)
    return kernel, (frame.memory, frame.memory, weights, table, start, floor, 0)


def _max_pool(frame, step, weights, training, raw, mask):
    _, offsets, runs = gather(step.window, frame.planes[step.out], frame.planes[step.source])
    out, src = frame.channels(step.out), frame.channels(step.source)
    floor = floor_of(step.out)
    return [(kernels.pool.largest, (frame.memory, out, src, offsets, runs, floor))]


def _mean_pool(frame, step, weights, training, raw, mask):
    _, offsets, runs = gather(step.window, frame.planes[step.out], frame.planes[step.source])
    src = frame.channels(step.source)
    out = frame.channels(step.out)[step.skip : step.skip + len(src)]
    share = 1.0 / np.prod(step.window.kernel)
    arguments = frame.memory, out, src, offsets, runs, share, floor_of(step.out)
    return [(kernels.pool.mean, arguments)]


def _norm(frame, step, weights, training, raw, mask):
    channels = np.arange(step.out.channels)
    out, src = frame.channels(step.out), frame.channels(step.source)
    scale, shift, mean, variance = (place + channels for place in step.places)
    size, floor = frame.planes[step.out].size, NONE if raw else floor_of(step.out)
    if not training:
        arguments = (frame.memory, out, src, size, weights, scale, shift, mean, variance)
        return [(kernels.norm.apply, (*arguments, step.epsilon, floor))]
    arguments = (frame.memory, out, src, size, frame.mask, weights, scale, shift)
    return [(kernels.norm.normalise, (*arguments, frame.saved[step], step.epsilon, floor))]


def _add(frame, step, weights, training, raw, mask):
    places = (frame.place[value] for value in (step.out, step.source, step.other))
    arguments = (frame.memory, *places, frame.size(step.out), floor_of(step.out))
    return [(kernels.batch_last.add, arguments)]


def _counted(step):
    """True if a layer's activations are those of this step."""
    return isinstance(step, (Conv, Linear)) or (isinstance(step, Norm) and not step.joined)


def _measure(frame, step):
    plane, floor = frame.planes[step.out], floor_of(step.out)
    arguments = frame.memory, frame.channels(step.out), plane.size, frame.mask, floor
    return [(kernels.batch_last.measure, arguments)]


_STEPS = {
    Conv: _conv,
    Linear: _linear,
    MaxPool: _max_pool,
    MeanPool: _mean_pool,
    Norm: _norm,
    Add: _add,
}
