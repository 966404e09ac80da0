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


class Keeping(nn.Module):
    """A linear layer whose passes change a value, which later passes use."""

    def __init__(self, change, **first):
        super().__init__()
        self.head, self.change = nn.Linear(64, 10), change
        for name, value in first.items():
            setattr(self, name, value)
        self.register_buffer("calls", torch.zeros(10, dtype=torch.int64))

    def forward(self, x):
        y = self.head(x.flatten(1))
        return y + self.change(self, y.detach())


def average(net, y):
    """The mean of earlier outputs is an attribute."""
    if net.training:
        net.mean = 0.9 * net.mean + 0.1 * y.mean(0)
    return net.mean


def counter(net, y):
    """A warm-up counts the passes of training."""
    net.passes += net.training
    return net.passes / 10


def bank(net, y):
    """Earlier outputs are in a list."""
    net.seen.append(y.mean(0))
    return sum(net.seen)


def teacher(net, y):
    """The mean of earlier outputs is a frozen parameter."""
    net.slow.data += y.mean(0)
    return net.slow


KEPT = {
    "mean": (average, torch.zeros(10)),
    "passes": (counter, 0),
    "seen": (bank, []),
    "slow": (teacher, nn.Parameter(torch.zeros(10), requires_grad=False)),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_model_whose_passes_depend_on_earlier_passes_is_refused(name):
    change, first = KEPT[name]
    with pytest.raises(ConfigError, match=rf"forward pass changes {name}, which later passes use"):
        layout_of(Keeping(change, **{name: first}), SAMPLE)


def shown(net, y):
    """The last outputs are kept, but no pass uses them."""
    net.last = y
    return 0


def counted(net, y):
    """A counter in a buffer is set back for each client."""
    net.calls += 1
    return net.calls / 10


@pytest.mark.parametrize("change", [shown, counted])
def test_a_model_may_keep_values_that_no_other_client_sees(change):
    assert layout_of(Keeping(change), SAMPLE).size == 650


class Count:
    """A count in an object of a class."""

    def __init__(self):
        self.passes = 0


def test_a_value_that_cannot_be_compared_is_not_named():
    def change(net, y):
        net.count.passes += 1
        return net.count.passes

    with pytest.raises(ConfigError, match="forward pass changes values outside of its buffers, wh"):
        layout_of(Keeping(change, count=Count()), SAMPLE)
