"""Synaptic flow: the share of a network's total flow that each weight carries, without data.

Tanaka, Kunin, Yamins and Ganguli, "Pruning neural networks without any data by iteratively
conserving synaptic flow", NeurIPS 2020, arXiv:2006.05467.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from fedmpi.arrays import AnyArray, Reals, Vector
from fedmpi.layout import Layout
from fedmpi.learn.constants import Constants
from fedmpi.learn.loss_functions import one_thread


def flow_of(module: nn.Module, layout: Layout, sample: AnyArray) -> Callable[[Vector], Reals]:
    """Return a function from weights float32[P] to their synaptic flow |w dR/d|w||, float64[P].

    R is the sum of the outputs of the module with all weights replaced by their magnitudes, for
    an input of ones of the shape of `sample`, in evaluation mode and float64. Running statistics
    are used unchanged, and their flow is 0. No call affects the next.
    """
    module = module.double().eval()
    constants = Constants(module, layout)
    ones = torch.ones(np.shape(sample), dtype=torch.float64)

    def flow(weights: Vector) -> Reals:
        still = torch.from_numpy(np.asarray(weights, np.float64))
        flat = still.abs().requires_grad_()
        views = {}
        for tensor in layout.tensors:
            block = tensor.block
            views[tensor.name] = (flat if tensor.trained else still)[block].view(tensor.shape)
        constants.restore()
        with one_thread():
            total = functional_call(module, views, ones).sum()
            score = flat * torch.autograd.grad(total, flat)[0]
        found = score.detach().numpy()
        found[~layout.trained] = 0
        return found

    return flow
