"""The forward pass as a list of kernel calls."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fedmpi import kernels
from fedmpi.learn.fast.chain import Add, Conv, Linear, MaxPool, MeanPool, Norm
from fedmpi.learn.fast.geometry import gather

NONE = float("-inf")  # a floor that nothing lies below


class Call(NamedTuple):
    """One kernel call, and the index of the layer it is for (-1 if none)."""

    kernel: Callable
    arguments: tuple
    layer: int


def forward(frame, weights, measured=None, training=True):
    """Return the calls of the forward pass.

    Parameters
    ----------
    frame : Frame
    weights : float32[P]
        Bound to the calls; BatchNorm's statistics in it are updated if `training`.
    measured : list of float64[rows], optional
        For each layer: |output of the layer| is added up in it.
    training : bool
    """
    calls = []
    for step in frame.steps:
        raw = measured is not None and _counted(step)
        made = _STEPS[type(step)](frame, step, weights, training, raw)
        if raw:
            made += _measure(frame, step, measured[step.layer])
        calls += [Call(*call, step.layer) for call in made]
    return calls


def floor_of(*values):
    """The floor of what follows a ReLU, or of what is followed by one."""
    return 0.0 if any(value.relu for value in values) else NONE


def _conv(frame, step, weights, training, raw):
    out, source, window = frame.planes[step.out], frame.planes[step.source], step.window
    numbers, offsets, runs = gather(window, out, source)
    taps = window.kernel[0] * window.kernel[1]
    rows, columns = np.arange(step.out.channels), np.arange(step.source.channels)
    tables = kernels.conv.mix_table(
        frame.channels(step.out),
        step.weight + rows * step.source.channels * taps,
        max(step.bias, 0) + rows,
        columns * taps,
        frame.channels(step.source),
        numbers,
        offsets,
        runs,
    )
    return [_mix(frame, step, weights, tables, raw)]


def _linear(frame, step, weights, training, raw):
    inputs, rows = np.arange(step.source.channels), np.arange(step.out.channels)
    tables = kernels.conv.mix_table(
        frame.channels(step.out),
        step.weight + rows * len(inputs),
        max(step.bias, 0) + rows,
        np.zeros(1, np.int64),
        np.full(1, frame.place[step.source]),
        inputs,
        inputs * frame.lanes,
        np.array([(0, 0, frame.lanes, 0, len(inputs))]),
    )
    return [_mix(frame, step, weights, tables, raw)]


def _mix(frame, step, weights, tables, raw):
    floor = NONE if raw else floor_of(step.out)
    start = int(step.bias >= 0)
    return kernels.conv.mix, (frame.memory, frame.memory, weights, tables, start, floor, 0)


def _max_pool(frame, step, weights, training, raw):
    _, offsets, runs = gather(step.window, frame.planes[step.out], frame.planes[step.source])
    out, src = frame.channels(step.out), frame.channels(step.source)
    floor = floor_of(step.out)
    return [(kernels.pool.largest, (frame.memory, out, src, offsets, runs, floor))]


def _mean_pool(frame, step, weights, training, raw):
    _, offsets, runs = gather(step.window, frame.planes[step.out], frame.planes[step.source])
    src = frame.channels(step.source)
    out = frame.channels(step.out)[step.skip : step.skip + len(src)]
    share = 1.0 / np.prod(step.window.kernel)
    arguments = frame.memory, out, src, offsets, runs, share, floor_of(step.out)
    return [(kernels.pool.mean, arguments)]


def _norm(frame, step, weights, training, raw):
    channels = np.arange(step.out.channels)
    out, src = frame.channels(step.out), frame.channels(step.source)
    scale, shift, mean, variance = (place + channels for place in step.places)
    size, floor = frame.planes[step.out].size, NONE if raw else floor_of(step.out)
    if not training:
        arguments = (frame.memory, out, src, size, weights, scale, shift, mean, variance)
        return [(kernels.norm.apply, (*arguments, step.epsilon, floor))]
    arguments = (frame.memory, out, src, size, frame.mask, weights, scale, shift)
    return [(kernels.norm.normalise, (*arguments, frame.saved[step], step.epsilon, floor))]


def _add(frame, step, weights, training, raw):
    places = (frame.place[value] for value in (step.out, step.source, step.other))
    arguments = (frame.memory, *places, frame.size(step.out), floor_of(step.out))
    return [(kernels.batch_last.add, arguments)]


def _counted(step):
    """True if a layer's activations are those of this step."""
    return isinstance(step, (Conv, Linear)) or (isinstance(step, Norm) and not step.joined)


def _measure(frame, step, totals):
    plane = frame.planes[step.out]
    arguments = totals, frame.memory, frame.channels(step.out), plane.size, frame.mask
    calls = [(kernels.batch_last.add_magnitudes, arguments)]
    if step.out.relu:
        size = frame.size(step.out)
        calls.append((kernels.batch_last.rectify, (frame.memory, frame.place[step.out], size)))
    return calls


_STEPS = {
    Conv: _conv,
    Linear: _linear,
    MaxPool: _max_pool,
    MeanPool: _mean_pool,
    Norm: _norm,
    Add: _add,
}
