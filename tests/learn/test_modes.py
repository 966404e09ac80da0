"""BatchNorms with a mode or a forward pass of their own, and what an evaluation leaves behind."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.learn.test_any_model import LOCAL, close, engine, reports


class Kept(nn.Sequential):
    """Keeps its BatchNorm in evaluation mode, as fine-tuning does; scale and shift are trained."""

    def train(self, mode=True):
        super().train(mode)
        self[1].eval()
        return self


class Doubled(nn.BatchNorm2d):
    """A BatchNorm whose forward pass is part of the model."""

    def forward(self, x):
        return 2 * super().forward(x)


class Asked(nn.Linear):
    """Counts its evaluations, and lets the count change what it gives."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        if not self.training:
            self.calls += 1
        return super().forward(x) / (1 + self.calls)


def parts(norm=nn.BatchNorm2d):
    torch.manual_seed(4)
    return [nn.Conv2d(1, 4, 3), norm(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)]


def begun(*still):
    """Return a model that is built with some of its parts in evaluation mode."""
    net = nn.Sequential(*parts())
    for number in still:
        net[number].eval()
    return net


def by_hand(made, net, round, client):
    """Return the weights of a client that plain torch trains."""
    data = made.data
    index = data.partition.of(client)
    optimizer = torch.optim.SGD(net.parameters(), LOCAL.lr, LOCAL.momentum)
    net.train()
    for batch, _ in LOCAL.batches(data.seed, round, client, len(index), None):
        x, y = map(torch.from_numpy, data.samples.take(index[batch]))
        optimizer.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    state = net.state_dict()
    return torch.cat([state[name].reshape(-1) for name in made.layout.names]).numpy()


MODELS = {"a part is built so": lambda: begun(1), "train() keeps a part so": lambda: Kept(*parts())}


@pytest.mark.parametrize("name", ["torch", "batched", "debug"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_mode_of_a_part_is_that_of_plain_torch_before_and_after_an_evaluation(name, kind):
    made = engine(name, MODELS[kind])
    first, _ = reports(made)
    made.outputs(made.initial_weights, made.data.samples.x[:3])
    again, _ = reports(made)
    assert again.weights.tobytes() == first.weights.tobytes()
    close(first.weights, by_hand(made, MODELS[kind](), 2, 0))


@pytest.mark.parametrize("stacked", [True, False])
def test_a_forward_pass_of_a_norm_is_that_of_the_model_with_many_clients_at_once(stacked):
    made = engine("batched", lambda: nn.Sequential(*parts(Doubled)), stacked=stacked)
    close(reports(made)[0].weights, by_hand(made, nn.Sequential(*parts(Doubled)), 2, 0))


@pytest.mark.parametrize("name", ["torch", "batched", "debug"])
def test_no_evaluation_affects_the_next(name):
    made = engine(name, lambda: nn.Sequential(nn.Flatten(), Asked(64, 10)))
    x, weights = made.data.samples.x[:3], made.initial_weights
    first = made.outputs(weights, x)
    np.testing.assert_array_equal(made.outputs(weights, x), first)
    np.testing.assert_array_equal(made.flow(weights), made.flow(weights))
