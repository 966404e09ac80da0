"""PruneTrain and FedMTL: their objectives, the rows that they remove, and the final models."""

import numpy as np
import pytest
import torch

from fedmpi.errors import ConfigError
from fedmpi.rng import rng_for
from tests.algorithms.by_hand import arrival_of, made
from tests.algorithms.problem import experiment, simulate, trained, weights_of
from tests.models import TINY, WEIGHTS

PLAIN = ("optimizer.momentum=0.0", "optimizer.weight_decay=0.0", "clients.local_steps=1")


def first_batch(found, client):
    """Return the first batch of a client in round 0."""
    index = found.engine.data.partition.of(client)
    order = rng_for(found.engine.data.seed, "batches", 0, client).permutation(len(index))[:8]
    return found.engine.data.samples.take(index[order])


def gradient_of(found, weights, client):
    """Return the plain gradient of a client's first batch at `weights`."""
    grad = np.zeros_like(weights)
    found.engine.gradients.gradient(weights.copy(), *first_batch(found, client), grad)
    return grad.copy()


def test_the_penalty_is_the_norm_of_each_row():
    """A step against torch's gradient of penalty * sum of row norms."""
    found = experiment("prunetrain", PLAIN, penalty=0.3)
    _, report = trained(found, found.algorithm.start(found.weights), 0, 3)
    expected = gradient_of(found, found.weights, 3)
    for name in ("conv1.weight", "conv2.weight", "fc1.weight"):
        block = found.layout.slice(name)
        rows = found.layout.tensors[found.layout.names.index(name)].rows
        w = torch.tensor(found.weights[block].reshape(rows, -1), requires_grad=True)
        (0.3 * w.norm(dim=1).sum()).backward()
        expected[block] += w.grad.numpy().ravel()
    moved = found.layout.trained
    np.testing.assert_allclose(
        report.weights[moved], (found.weights - np.float32(0.05) * expected)[moved], atol=1e-6
    )


def test_small_rows_go_with_what_reads_them_and_one_always_stays():
    algorithm = made("prunetrain", threshold=0.5, every=1)
    weights = WEIGHTS.copy()
    a, b = (TINY.tensors[t] for t in (0, 2))
    rows = weights[a.start : a.start + a.size].reshape(a.rows, -1)
    rows[0], rows[1] = 0.4, 0.6
    state, sums = algorithm.start(weights), algorithm.zero()
    algorithm.add(sums, arrival_of(weights, algorithm.plan(state, 0, 0).up, 1.0))
    after = algorithm.step(state, sums, 0)
    inputs = algorithm.units.inputs
    assert after["units"].tolist() == [1] * inputs + [0, 1]
    assert not after["weights"][a.start : a.start + a.size // 2].any()
    reads = after["weights"][b.start : b.start + b.size].reshape(b.rows, 2, -1)
    assert not reads[:, 0].any() and reads[:, 1].any()
    assert algorithm.left(weights * 0.1, state["units"]).tolist() == [1] * inputs + [0, 1]
    again = algorithm.plan(after, 1, 0)
    assert again.submodel is not None and again.up.size == int(algorithm.kept(after).sum())


def test_a_strong_penalty_makes_the_network_small():
    keys = {"every": 2, "threshold": 0.05}
    settings = ("run.rounds=8", "clients.local_steps=20")
    free, pulled = (simulate("prunetrain", settings, penalty=p, **keys) for p in (0.0, 0.1))
    kept = [simulation.algorithm.density(simulation.state) for simulation, _ in (free, pulled)]
    assert kept[0] > 0.9 > 0.7 > kept[1]
    for column in ("bytes_up", "flops", "flops_inference"):
        assert pulled[1][-1].columns[column] < 0.9 * pulled[1][0].columns[column]


@pytest.mark.parametrize(
    ("name", "keys"),
    [("prunetrain", {"threshold": 0.2, "every": 1}), ("heterofl", {"widths": [0.5]})],
)
def test_only_chains_can_get_smaller(name, keys):
    with pytest.raises(ConfigError, match="not a plain chain"):
        simulate(name, ("model.name=resnet20", "run.rounds=2", "clients.per_round=1"), **keys)


class TestFedMTL:
    def test_a_step_is_that_of_the_whole_objective(self):
        """CE + s (|W|^2 + tr(W Omega W^T)) by autograd, with the Omega that the method means."""
        strength, clients = 0.2, 3
        found = experiment("fedmtl", (*PLAIN, "clients.number=3", "clients.per_round=3"),
                           strength=strength)  # fmt: skip
        rng = np.random.default_rng(1)
        models = found.weights + rng.normal(size=(clients, found.layout.size)).astype(np.float32)
        models[:, ~found.layout.trained] = 1
        for client in range(clients):
            found.memories.prepare(client, {"own": models[client]})
        found.memories.commit()
        state = found.algorithm.start(found.weights) | {"weights": models.mean(axis=0)}
        columns = torch.tensor(models.T.astype(np.float64), requires_grad=True)
        omega = torch.eye(clients, dtype=torch.float64) - 1 / clients
        omega = omega @ omega
        (strength * (columns.square().sum() + (columns @ omega @ columns.T).trace())).backward()
        for client in range(clients):
            _, report = trained(found, state, 0, client)
            whole = gradient_of(found, models[client], client) + columns.grad[:, client].numpy()
            moved = found.layout.trained
            np.testing.assert_allclose(
                report.weights[moved], (models[client] - 0.05 * whole)[moved], atol=2e-5
            )

    def test_the_servers_weights_are_the_mean_of_all_models(self):
        simulation, _ = simulate("fedmtl", ("run.rounds=6",), strength=0.01)
        first = simulation.state["first"]
        models = [simulation.memories[client].get("own", first) for client in range(12)]
        np.testing.assert_allclose(weights_of(simulation), np.mean(models, axis=0), atol=2e-6)
        assert any(np.array_equal(model, first) for model in models)

    def test_the_pull_brings_models_together_and_the_default_is_weak(self):
        spread = []
        for strength in (0.0, 0.5):
            simulation, _ = simulate("fedmtl", ("clients.per_round=12",), strength=strength)
            own = [simulation.memories[c]["own"] for c in simulation.memories.clients()]
            spread.append(np.std(own, axis=0)[simulation.experiment.layout.trained].mean())
        assert spread[1] < 0.7 * spread[0]
        found = experiment("fedmtl")  # 424 coordinates, so 10^-4
        plan = found.algorithm.plan(found.algorithm.start(found.weights), 0, 0)
        assert plan.proximal == pytest.approx(4e-4)
