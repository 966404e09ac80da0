"""Models whose passes fail, or that call modules of torch in ways of their own."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fedmpi import flops
from fedmpi.errors import ConfigError
from fedmpi.learn.layout_of import layout_of
from tests.learn.any_models import Net, tokens

SAMPLE = np.random.default_rng(0).standard_normal((1, 1, 8, 8)).astype(np.float32)


class Broken(torch.autograd.Function):
    """An operation whose backward pass fails."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("no gradient of this")


def in_place(net, x):
    """The backward pass of the sigmoid needs its outputs as they were."""
    y = torch.sigmoid(net.inputs(x.flatten(1)))
    y += 1
    return net.head(y)


FAILING = {
    "function": (lambda net, x: net.head(Broken.apply(net.inputs(x.flatten(1)))), "no gradient of"),
    "in place": (in_place, "modified by an inplace operation"),
}


@pytest.mark.parametrize("kind", FAILING)
def test_a_backward_pass_that_fails_is_refused_with_what_failed(kind):
    forward, why = FAILING[kind]
    net = Net(forward, inputs=nn.Linear(64, 6), head=nn.Linear(6, 10))
    with pytest.raises(ConfigError, match=rf"model: the backward pass fails.*{why}.*; mend what"):
        layout_of(net, SAMPLE)


def test_outputs_without_a_gradient_are_refused():
    net = Net(lambda net, x: net.head(x.flatten(1)).detach(), head=nn.Linear(64, 10))
    with pytest.raises(ConfigError, match=r"depend on none of its weights.*leave out detach"):
        layout_of(net, SAMPLE)


class Looking(nn.MultiheadAttention):
    """Attention with other arguments than torch's."""

    def __init__(self, size):
        super().__init__(size, 2, batch_first=True)

    def forward(self, steps, memory=None):
        memory = steps if memory is None else memory
        return super().forward(steps, memory, memory)[0]


class Plain(nn.MultiheadAttention):
    """Attention in name: it has none of its weights."""

    def __init__(self, size):
        nn.Module.__init__(self)
        self.mixed = nn.Linear(size, size)

    def forward(self, steps):
        return self.mixed(steps)


def attending(net, x):
    """Attention to part of the steps, its arguments named in another order than torch's."""
    steps = net.inputs(tokens(x))
    return net.head(net.mixed(value=steps[:, :3], key=steps[:, :3], query=steps)[0].flatten(1))


CALLED = {
    "alone": (lambda net, x: net.head(net.mixed(net.inputs(tokens(x))).flatten(1)), Looking),
    "named": (
        lambda net, x: net.head(net.mixed(tokens(x), memory=net.inputs(tokens(x))).flatten(1)),
        Looking,
    ),
    "without": (lambda net, x: net.head(net.mixed(net.inputs(tokens(x))).flatten(1)), Plain),
    "ordered": (attending, lambda size: nn.MultiheadAttention(size, 2, batch_first=True)),
    "state": (
        lambda net, x: net.head(
            net.mixed(hx=torch.zeros(1, len(x), 8), input=net.inputs(tokens(x)))[0].flatten(1)
        ),
        lambda size: nn.RNN(size, size, batch_first=True),
    ),
}


@pytest.mark.parametrize("kind", CALLED)
def test_modules_of_torch_are_counted_however_they_are_called(kind):
    forward, mixed = CALLED[kind]
    net = Net(forward, inputs=nn.Linear(8, 8), mixed=mixed(8), head=nn.Linear(64, 10))
    layout = layout_of(net, SAMPLE)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net.requires_grad_(False)(torch.from_numpy(SAMPLE))
    assert flops.forward(layout).sum() == counter.get_total_flops()
