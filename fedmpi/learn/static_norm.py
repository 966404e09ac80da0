"""Static batch normalisation: running statistics are measured when needed instead of kept.

Diao, Ding and Tarokh, HeteroFL, ICLR 2021, section 3.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from fedmpi.arrays import AnyArray, Vector
from fedmpi.layout import Layout
from fedmpi.learn.constants import Training
from fedmpi.learn.kinds import BATCH_NORMS
from fedmpi.learn.layout_of import bind, flat_weights
from fedmpi.learn.loss_functions import one_thread


def statistics_of(module: nn.Module, layout: Layout) -> Callable[[Vector, AnyArray], Vector]:
    """Return a function from weights float32[P] and x float32[N, ...] to new weights float32[P].

    The new weights have the running statistics of x alone; everything else is unchanged. The
    function owns the module from now on, and runs it in training mode.
    """
    flat = flat_weights(module, layout)
    bind(module, layout, flat)
    Training(module).on()
    for part in module.modules():
        if isinstance(part, BATCH_NORMS) and part.training:
            part.momentum = 1.0

    def of_block(weights: Vector, x: AnyArray) -> Vector:
        flat.copy_(torch.from_numpy(weights))
        with torch.no_grad(), one_thread():
            module(torch.tensor(np.ascontiguousarray(x)))  # a copy: the module may write to it
        found: Vector = flat.numpy().copy()
        return found

    return of_block
