"""The forward pass as a list of kernel calls."""

from fedmpi import kernels
from fedmpi.learn.fast.step import Call, floor_of


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
        raw = measured and step.counted
        made = step.forward(frame, weights, training, raw, mask)
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


def _measure(frame, step):
    plane, floor = frame.planes[step.out], floor_of(step.out)
    arguments = frame.memory, frame.channels(step.out), plane.size, frame.mask, floor
    return [(kernels.batch_last.measure, arguments)]
