"""Static batch normalisation: running statistics measured when they are needed, not kept.

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


def statistics_of(module: nn.Module, layout: Layout) -> Callable[[Vector, AnyArray], Vector]:
    """Return a function of weights float32[P] and x float32[N, ...]: float32[P].

    It gives the running statistics of this block alone, and the weights elsewhere. The module is
    taken over; it runs as in training.
    """
    flat = flat_weights(module, layout)
    bind(module, layout, flat)
    Training(module).on()
    for part in module.modules():
        if isinstance(part, BATCH_NORMS) and part.training:
            part.momentum = 1.0

    def of_block(weights: Vector, x: AnyArray) -> Vector:
        flat.copy_(torch.from_numpy(weights))
        with torch.no_grad():
            module(torch.tensor(np.ascontiguousarray(x)))  # a copy, which it may write to
        found: Vector = flat.numpy().copy()
        return found

    return of_block
