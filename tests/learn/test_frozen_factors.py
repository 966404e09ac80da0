"""FLOPs of modules of unknown kind that multiply by constants, against the counter of torch."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fedmpi import flops
from fedmpi.learn.layout_of import layout_of


class Product(nn.Module):
    """x A B, of which a part is frozen."""

    def __init__(self, *frozen):
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.eye(8)) for _ in range(2))
        for name in frozen:
            self.get_parameter(name).requires_grad_(False)

    def forward(self, x):
        return x @ self.a @ self.b


class Shifted(nn.Module):
    """x A' + c: a frozen product and a trained shift, or the other way round."""

    def __init__(self, frozen):
        super().__init__()
        self.a, self.c = nn.Parameter(torch.eye(8)), nn.Parameter(torch.zeros(8))
        self.get_parameter(frozen).requires_grad_(False)

    def forward(self, x):
        return functional.linear(x, self.a, self.c)


class Transform(nn.Module):
    """A product with a buffer, and no parameter."""

    def __init__(self):
        super().__init__()
        self.register_buffer("basis", torch.eye(8), persistent=False)

    def forward(self, x):
        return x @ self.basis


MADE = {
    "trained": Product,
    "first": lambda: Product("a"),
    "second": lambda: Product("b"),
    "both": lambda: Product("a", "b"),
    "weight": lambda: Shifted("a"),
    "bias": lambda: Shifted("c"),
    "buffer": Transform,
}


@pytest.mark.parametrize("below", [True, False], ids=["above a layer", "on the samples"])
@pytest.mark.parametrize("kind", MADE)
def test_a_constant_factor_has_no_gradient(kind, below):
    start = [nn.Linear(8, 8)] if below else []
    module = nn.Sequential(nn.Flatten(), *start, MADE[kind](), nn.Linear(8, 3))
    layout = layout_of(module, np.ones((1, 8), np.float32))
    with FlopCounterMode(display=False) as counter:
        module(torch.ones(1, 8)).sum().backward()
    assert flops.count(layout).sum() == counter.get_total_flops()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.ones(1, 8))
    assert flops.forward(layout).sum() == counter.get_total_flops()
