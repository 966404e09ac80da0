"""Static batch normalisation: running statistics are measured when needed instead of kept.

Diao, Ding and Tarokh, HeteroFL, ICLR 2021, section 3.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from fedmpi.arrays import AnyArray, Vector
from fedmpi.layout import Layout
from fedmpi.learn.constants import Constants, Training
from fedmpi.learn.draws import Draws
from fedmpi.learn.kinds import BATCH_NORMS
from fedmpi.learn.layout_of import bind, flat_weights
from fedmpi.learn.loss_functions import one_thread


def statistics_of(
    module: nn.Module, layout: Layout
) -> Callable[[Vector, AnyArray, Draws], Vector]:
    """Return a function (weights float32[P], x float32[N, ...], draws) -> new weights float32[P].

    The new weights have the running statistics of x alone; everything else is unchanged. The
    module's random numbers are those of the next pass of `draws`. The function owns the module
    from now on. It runs the module in training mode, and no call affects the next.
    """
    flat = flat_weights(module, layout)
    training, constants = Training(module), Constants(module, layout)
    training.on()
    for part in module.modules():
        if isinstance(part, BATCH_NORMS) and part.training:
            part.momentum = 1.0

    def of_block(weights: Vector, x: AnyArray, draws: Draws) -> Vector:
        flat.copy_(torch.from_numpy(weights))
        bind(module, layout, flat)  # at each call, since a module may replace its tensors
        constants.restore()
        with torch.no_grad(), one_thread(), draws.next_pass():
            module(torch.tensor(np.ascontiguousarray(x)))  # a copy: the module may write to it
        found: Vector = flat.numpy().copy()
        for tensor in layout.tensors:
            if not tensor.trained:
                found[tensor.block] = module.get_buffer(tensor.name).detach().reshape(-1).numpy()
        return found

    return of_block
