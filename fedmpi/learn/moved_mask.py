"""What `readjust` of a Plan makes of a mask: the same for all engines but the debug engine."""

import numpy as np

from fedmpi.sparsity import readjusted


def moved_mask(network, plan, step, mask, weights, start, grad):
    """Return uint8[P'], the mask of a client after one of its steps.

    Parameters
    ----------
    network : Network
    plan : Plan
    step : int
        A number in `plan.readjust`.
    mask : uint8[P']
    weights, start, grad : float32[P']
        The client's weights, those that it started from, and the gradient of the step. `start` is
        read only with `plan.signs`.
    """
    rank = grad if plan.grow is None else network.part_of(plan.grow)
    agrees, share = None, dict(plan.readjust)[step]
    if plan.signs is not None:
        own = np.where(mask != 0, weights - start, -grad)
        agrees = network.part_of(plan.signs) * np.sign(own)
    told = mask, weights, rank, share, plan.reallocate, agrees, plan.portions
    return readjusted(network.layout, plan.tensors, *told)
