"""The forward pass as a list of kernel calls."""

from collections.abc import Sequence

from fedmpi import kernels
from fedmpi.arrays import Flags, Reals, Vector
from fedmpi.learn.fast.frame import Frame
from fedmpi.learn.fast.step import Call, Made, Step, floor_of


def forward(
    frame: Frame, weights: Vector, totals: Sequence[Reals] | None = None, training: bool = True,
    mask: Flags | None = None,
) -> list[Call]:
    """Return the calls of the forward pass.

    Parameters
    ----------
    frame : Frame
    weights : float32[P]
        Bound to the calls; BatchNorm's statistics in it are updated if `training`.
    totals : list of float64[rows], optional
        One for each layer, to which |output of the layer| is added whenever the calls run.
    training : bool
    mask : uint8[P], optional
        0 where weights are 0 whenever the calls run.
    """
    calls: list[Call] = []
    for step in frame.steps:
        raw = totals is not None and step.counted
        made = step.forward(frame, weights, training, raw, mask)
        if raw and totals is not None:
            made += _measure(frame, step, totals[step.layer])
        calls += [Call(*call, step.layer) for call in made]
    return calls


def _measure(frame: Frame, step: Step, total: Reals) -> list[Made]:
    plane, floor = frame.planes[step.out], floor_of(step.out)
    arguments = total, frame.memory, frame.channels(step.out), plane.size, frame.mask, floor
    return [(kernels.batch_last.measure, arguments)]
