"""Small networks of the kinds of modules that torch has, for images of 1 x 8 x 8."""

import torch
from torch import nn
from torch.nn import functional

import fedmpi


class Net(nn.Module):
    """Modules by name, and a forward pass that is given: a function of the module and a batch."""

    def __init__(self, forward, **parts):
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self._forward(self, x)


class Counting(nn.Linear):
    """Counts its calls in training, and lets the count change what it gives."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("order", torch.arange(inputs - 1, -1, -1))

    def forward(self, x):
        if self.training:
            self.calls += 1
        return super().forward(x[:, self.order]) / (1 + self.calls)


class Averaging(nn.Module):
    """Keeps a running mean by assignment, as user's code does."""

    def __init__(self, features):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return x - self.mean


def tokens(x):
    """Return the rows of images as a sequence, float32[N, 8, 8]."""
    return x[:, 0]


def attention():
    def forward(net, x):
        steps = net.inputs(tokens(x))
        return net.head(net.attention(steps, steps, steps)[0].mean(1))

    return Net(
        forward, inputs=nn.Linear(8, 12), attention=nn.MultiheadAttention(12, 3, batch_first=True),
        head=nn.Linear(12, 10),
    )  # fmt: skip


def encoder():
    return Net(
        lambda net, x: net.head(net.layer(net.inputs(tokens(x)) + net.places).mean(1)),
        inputs=nn.Linear(8, 12), places=nn.Parameter(torch.zeros(8, 12)),
        layer=nn.TransformerEncoderLayer(12, 3, 16, dropout=0.2, batch_first=True),
        head=nn.Linear(12, 10),
    )  # fmt: skip


def embedding():
    return Net(
        lambda net, x: net.head(net.norm(net.letters((x > 0).long().flatten(1)).flatten(1))),
        letters=nn.Embedding(2, 3), norm=nn.LayerNorm(192), head=nn.Linear(192, 10),
    )  # fmt: skip


def bilinear():
    """A kind that is not among BUILD: its layer reads two inputs."""
    return Net(
        lambda net, x: net.head(torch.tanh(net.both(x[:, 0, 0], x[:, 0, 1]))),
        both=nn.Bilinear(8, 8, 5), head=nn.Linear(5, 10),
    )  # fmt: skip


def gru():
    return Net(
        lambda net, x: net.head(net.gru(net.inputs(tokens(x)))[0][:, -1]),
        inputs=nn.Linear(8, 6), gru=nn.GRU(6, 5, batch_first=True), head=nn.Linear(5, 10),
    )  # fmt: skip


def depthwise():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 8, 3, groups=4),
        nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def transposed():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2), nn.ReLU(), nn.ConvTranspose2d(3, 2, 3, stride=2),
        nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(98, 10),
    )  # fmt: skip


def dropout():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 20), nn.Dropout(0.4), nn.ReLU(), nn.Linear(20, 10)
    )


def tied():
    net = Net(
        lambda net, x: net.head(torch.tanh(net.second(torch.tanh(net.first(x.flatten(1)))))),
        second=nn.Linear(64, 64), first=nn.Linear(64, 64, bias=False), head=nn.Linear(64, 10),
    )  # fmt: skip
    net.second.weight = net.first.weight
    return net


def twice():
    return Net(
        lambda net, x: net.head(torch.relu(net.both(torch.relu(net.both(x.flatten(1)))))),
        both=nn.Linear(64, 64), head=nn.Linear(64, 10),
    )  # fmt: skip


def borrowed():
    """A weight that is used where its module is not called."""
    return Net(
        lambda net, x: net.head(functional.linear(x.flatten(1), net.silent.weight)),
        silent=nn.Linear(64, 12, bias=False), head=nn.Linear(12, 10),
    )  # fmt: skip


def buffers():
    return nn.Sequential(nn.Flatten(), Averaging(64), Counting(64, 10))


def bare():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10, bias=False)
    )


def frozen():
    """Frozen below, between and above what is trained; the BatchNorm is frozen with its weights."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(),
        nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 10),
    )  # fmt: skip
    for part in (net[0], net[1], net[5], net[9]):
        part.requires_grad_(False)
    net[1].running_var.fill_(2.0)
    return net


BUILD = {
    made.__name__: made
    for made in (attention, encoder, embedding, gru, depthwise, transposed, dropout, tied, twice,
                 borrowed, buffers, bare, frozen)
}  # fmt: skip


@fedmpi.model
def named(input_shape, classes, kind="attention"):
    """Return one of them."""
    return BUILD[kind]()


@fedmpi.model
def fourier(input_shape, classes):
    """Return a linear layer on a transform that nobody counts."""
    return Net(
        lambda net, x: net.head(torch.fft.rfft(x.flatten(1)).real), head=nn.Linear(33, classes)
    )
