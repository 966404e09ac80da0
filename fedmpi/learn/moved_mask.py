"""The mask after `readjust` of a Plan, for all engines except the debug engine."""

from typing import TYPE_CHECKING

import numpy as np

from fedmpi.arrays import Flags, Vector
from fedmpi.plan import Plan
from fedmpi.sparsity import readjusted

if TYPE_CHECKING:  # networks.py imports this module indirectly
    from fedmpi.learn.networks import Network


def moved_mask(
    network: "Network", plan: Plan, step: int, mask: Flags, weights: Vector, start: Vector | None,
    grad: Vector,
) -> Flags:
    """Return uint8[P'], the new mask of a client after one of its steps.

    Parameters
    ----------
    network : Network
    plan : Plan
    step : int
        A step number in `plan.readjust`.
    mask : uint8[P']
    weights, start, grad : float32[P']
        The client's weights, its weights at the start of training, and the gradient of the step.
        `start` is read only with `plan.signs`.
    """
    grow = network.part_of(plan.grow)
    agrees, share = None, dict(plan.readjust)[step]
    signs = network.part_of(plan.signs)
    if signs is not None and start is not None:
        own = np.where(mask != 0, weights - start, -grad)
        agrees = signs * np.sign(own)
    rank = grad if grow is None else grow
    return readjusted(
        network.layout, plan.tensors, mask, weights, rank, share, plan.reallocate, agrees,
        plan.portions,
    )  # fmt: skip
