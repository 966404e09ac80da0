"""The statistic "curvature" is the Hessian times the gradient, by hand and beside kinks."""

import numpy as np
import pytest
import torch
from torch import nn

from fedmpi.errors import ConfigError
from fedmpi.exchange import Job
from fedmpi.layout import Support
from fedmpi.learn.engine import ClientData
from fedmpi.learn.engines import engine_for
from fedmpi.learn.local import Local
from fedmpi.learn.partitions.partition import Partition
from fedmpi.learn.sample_arrays import Samples
from fedmpi.plan import Plan

ENGINES = ["kernels", "torch", "batched", "debug"]


def curvature(name, make, x, y, **more):
    """Return float32[P]: H g of a client with the samples x and y, at a model's first weights."""
    local = Local(epochs=1, steps=None, batch_size=len(y), optimizer="sgd", lr=0.1, lr_decay=1.0,
                  momentum=0.0, weight_decay=0.0)  # fmt: skip
    whole = Partition(np.arange(len(y)), np.array([0, len(y)]))
    data = ClientData(Samples(x, y), whole, local, seed=1)
    engine = engine_for(lambda options: make(), x[:1], data, name)
    everything = Support.all(engine.layout)
    plan = Plan(everything, everything, steps=0, statistics=("gradient", "curvature"), **more)
    (report,) = engine.train([Job(0, 0, {"weights": engine.initial_weights}, plan, 1.0)])
    return report.statistics["curvature"]


def zeros():
    """A linear layer of zeros; of one input and two classes."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    nn.init.zeros_(net[1].weight)
    nn.init.zeros_(net[1].bias)
    return net


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        # Both probabilities are 1/2: g = (3, 1) x (-1/2, 1/2), and H = (3, 1)(3, 1)' x S with
        # S = ((1, -1), (-1, 1)) / 4, so H g = (3, 1) (3 * 3 + 1 * 1) x (-1/4, 1/4).
        ({}, [-7.5, 7.5, -2.5, 2.5]),
        ({"tensors": (0,)}, [-6.75, 6.75, -2.25, 2.25]),  # without the 1 * 1 of the biases
        ({"mask": np.array([1, 1, 0, 0], np.uint8)}, [-6.75, 6.75, -2.25, 2.25]),
    ],
)
def test_it_is_what_a_hand_gets(name, more, wanted):
    x, y = np.array([[[[3.0]]]], np.float32), np.zeros(1, np.int64)
    np.testing.assert_allclose(curvature(name, zeros, x, y, **more), wanted, rtol=1e-6)


def net(middle):
    """All hidden units are barely positive, so that a ReLU between the layers changes nothing."""
    torch.manual_seed(5)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), middle, nn.Linear(6, 3))
    with torch.no_grad():
        layers[1].weight[:] = 1e-4
        layers[1].bias[:] = 0.0
    return layers


@pytest.mark.parametrize("name", ENGINES)
def test_a_kink_beside_the_weights_does_not_count(name):
    rng = np.random.default_rng(5)
    x, y = rng.random((7, 1, 2, 2)).astype(np.float32), rng.integers(0, 3, 7)
    wanted = curvature("torch", lambda: net(nn.Identity()), x, y)
    found = curvature(name, lambda: net(nn.ReLU()), x, y)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-7)


class Distances(nn.Module):
    """The distance of each unit from -1; torch has no derivative of the gradient of `cdist`."""

    def forward(self, x):
        return torch.cdist(x[..., None], torch.full((len(x), 1, 1), -1.0), p=1.5)[..., 0]


def test_a_model_that_torch_differentiates_once_is_refused():
    x, y = np.ones((3, 1, 2, 2), np.float32), np.arange(3)
    with pytest.raises(ConfigError, match="model: torch cannot differentiate it twice"):
        curvature("torch", lambda: net(Distances()), x, y)
