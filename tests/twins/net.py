"""A plain torch network on one flat float64 vector, and plain local training: what twins share.

Nothing here comes from fedmpi but the mark of the two models. A vector holds all parameters
and running statistics in the order of `state_dict`.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

import fedmpi

MARGIN = 1e-6  # least relative gap at a cut, far above the rounding of float32
KINK = 1e-7  # least distance of an activation from a kink, twice the rounding of a value near 1


@fedmpi.model
def small(input_shape, classes):
    """Two convolutions, the first with normalisation, and two linear layers; 652 parameters."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 4, 3, padding=1),
            bn1=nn.BatchNorm2d(4),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(4, 6, 3),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(24, 8),
            relu3=nn.ReLU(),
            fc2=nn.Linear(8, classes),
        )
    )


@fedmpi.model
def levels(input_shape, classes, level=5):
    """The layers of FedLP's CNN at its five levels, 2 or 3 channels wide."""
    parts, inputs = OrderedDict(), 1
    for number in range(1, level + 2):
        outputs = 2 + number % 2
        parts[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
        parts[f"relu{number}"] = nn.ReLU()
        parts[f"bn{number}"] = nn.BatchNorm2d(outputs)
        inputs = outputs
    parts["pool"] = nn.MaxPool2d(8 if level == 5 else 4)
    parts["flatten"] = nn.Flatten()
    head = "fc" if level == 5 else "private"
    parts[f"{head}1"] = nn.Linear(inputs if level == 5 else 4 * inputs, 5)
    parts[f"{head}2"] = nn.Linear(5, classes)
    return nn.Sequential(parts)


class Net:
    """A module whose weights are a vector float64[P].

    Attributes
    ----------
    first : float64[P]
        The values that the module came with.
    place : dict
        Of each tensor's name the slice of the vector.
    trained : bool[P]
        False for running statistics.
    """

    def __init__(self, module):
        self.module = module.double().train()
        for part in module.modules():
            if isinstance(part, nn.ReLU | nn.MaxPool2d):
                part.register_forward_hook(_no_kink)
            if isinstance(part, nn.MaxPool2d):
                part.register_forward_pre_hook(_with_ties)
        state = {n: v for n, v in module.state_dict().items() if "num_batches" not in n}
        self.shapes = {name: value.shape for name, value in state.items()}
        self.first = self.vector(state)
        ends = torch.tensor([0, *(v.numel() for v in state.values())]).cumsum(0).tolist()
        self.place = {n: slice(a, b) for n, a, b in zip(state, ends, ends[1:], strict=False)}
        parameters = dict(module.named_parameters())
        self.trained = torch.cat(
            [torch.full((v.numel(),), n in parameters) for n, v in state.items()]
        )

    @property
    def size(self):
        return len(self.first)

    def vector(self, values):
        """Return one vector of a dict of arrays by name."""
        flat = [torch.as_tensor(values[name]).reshape(-1) for name in self.shapes]
        return torch.cat(flat).detach().clone().double()

    def ones(self):
        return torch.ones(self.size, dtype=torch.bool)

    def views(self, w):
        return {name: w[self.place[name]].view(shape) for name, shape in self.shapes.items()}

    def gradient(self, w, x, y, mask=None):
        """Return the gradient of the mean cross-entropy at w, or at w * mask if that is given.

        Running statistics in w move; their gradient is 0.
        """
        leaf = (w if mask is None else w * mask).detach().clone().requires_grad_()
        parameters, statistics = self.views(leaf), self.views(w)
        learned = dict(self.module.named_parameters())
        both = {n: parameters[n] if n in learned else statistics[n] for n in self.shapes}
        loss = functional.cross_entropy(functional_call(self.module, both, x), y)
        return torch.autograd.grad(loss, leaf)[0]

    def accuracy(self, w, x, y):
        """Return the share of samples that w classes right."""
        self.module.eval()
        with torch.no_grad():
            out = functional_call(self.module, self.views(w), x)
        self.module.train()
        best = out.topk(2).values
        assert (best[:, 0] - best[:, 1]).min() > MARGIN, "a tie between classes; change the seed"
        return (out.argmax(1) == y).double().mean().item()

    def prunable(self):
        """Return the names of the weights of convolutions and linear layers."""
        return [name for name, shape in self.shapes.items() if len(shape) > 1]

    def convolutions(self):
        return [name for name, shape in self.shapes.items() if len(shape) == 4]

    def inside(self, names):
        """Return bool[P]: True in the tensors named."""
        found = torch.zeros(self.size, dtype=torch.bool)
        for name in names:
            found[self.place[name]] = True
        return found


def _with_ties(part, inputs):
    """Return the inputs of a pooling layer with ties where only the last bits differ.

    Where a filter has few weights left, outputs are often equal. Some processors fuse a product
    and a sum at some places and not at others, so these outputs differ by a bit in float64.
    """
    (x,) = inputs
    return (x + ((x * 2**44).round() / 2**44 - x).detach(),)


def _no_kink(part, inputs, output):
    """Assert that no activation is so near a kink that float32 may fall on its other side."""
    x = inputs[0].detach()
    if not part.training:
        return
    if isinstance(part, nn.MaxPool2d):
        windows = functional.unfold(x.flatten(0, 1)[:, None], part.kernel_size, stride=part.stride)
        first, second = windows.topk(2, dim=1).values.unbind(1)
        x = first - second
    # Exact zeros and ties are the same in float32.
    gaps = x.abs()[x.abs() > 1e-14]
    assert gaps.min() > KINK, "an activation is too near a kink; change the seed"


def largest(values, count):
    """Return bool[n]: the `count` of largest magnitude; asserts that the cut is clear.

    Exact zeros are zeros in float32 too; of them the first are taken.
    """
    order = values.abs().argsort(descending=True, stable=True)
    if 0 < count < len(values):
        inner, outer = values.abs()[order[count - 1]], values.abs()[order[count]]
        apart = inner - outer > MARGIN * inner or inner == 0
        assert apart, "two values are almost equal; change the seed"
    kept = torch.zeros(len(values), dtype=torch.bool)
    kept[order[:count]] = True
    return kept


def largest_inside(net, names, values, sparsity):
    """Return bool[P]: over all tensors named together, the largest of `values`; else True."""
    inside, mask = net.inside(names), net.ones()
    total = int(inside.sum())
    mask[inside] = largest(values[inside], total - round(sparsity * total))
    return mask


def random_mask(net, names, densities, rng):
    """Return bool[P]: of each tensor a random part is True; outside them all is."""
    mask = net.ones()
    for name, density in zip(names, densities, strict=True):
        size = net.shapes[name].numel()
        zeros = size - round(density * size)
        mask[net.place[name].start + torch.from_numpy(rng.permutation(size))[:zeros]] = False
    return mask


def erk(net, names, density):
    """Return each tensor's density: in proportion to sum(shape) / product(shape), at most 1."""
    sizes = [net.shapes[name].numel() for name in names]
    raw = [sum(net.shapes[name]) / size for name, size in zip(names, sizes, strict=True)]
    full = set()
    while True:
        wanted = density * sum(sizes) - sum(sizes[i] for i in full)
        scale = wanted / sum(raw[i] * sizes[i] for i in range(len(raw)) if i not in full)
        over = {i for i in range(len(raw)) if i not in full and scale * raw[i] > 1}
        if not over:
            return [1.0 if i in full else scale * raw[i] for i in range(len(raw))]
        full |= over


def train(trial, round, client, w, gradient, moving=None, each_epoch=None, parts=1):
    """Return w after a client's local SGD, and the number of steps.

    It takes `parts` times the epochs of a round.

    `gradient(w, x, y)` gives the direction before weight decay; `moving(w, g)` or bool[P] says
    what a step may move (all that is trained, if not given): elsewhere weights and velocity stay.
    `each_epoch(w)` changes w in place after every epoch.
    """
    (x, y), w = trial.data(client), w.clone()
    velocity, steps = torch.zeros_like(w), 0
    lr, momentum, decay = trial.rate(round), trial.momentum, trial.weight_decay
    for epoch in trial.epochs(round, client, parts):
        for batch in epoch:
            g = gradient(w, x[batch], y[batch])
            moves = trial.net.trained & trial.net.ones()
            if moving is not None:
                moves &= moving(w, g) if callable(moving) else moving
            velocity = torch.where(moves, momentum * velocity + g + decay * w, velocity)
            w = torch.where(moves, w - lr * velocity, w)
            steps += 1
        if each_epoch is not None:
            each_epoch(w)
    return w, steps


class Mean:
    """A weighted mean of vectors, coordinate by coordinate, over its holders."""

    def __init__(self, net):
        self.total = torch.zeros_like(net.first)
        self.weight = torch.zeros_like(net.first)

    def add(self, values, share, held=None):
        held = torch.ones_like(values) if held is None else held.to(values.dtype)
        self.total += share * held * values
        self.weight += share * held

    def over(self, old):
        """Return the mean, with the old value where a coordinate has no holder."""
        return torch.where(self.weight > 0, self.total / self.weight, old)
