"""Server optimisers against their formulas, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from fedmpi.config import ServerSection
from fedmpi.errors import ConfigError, RejectedError
from fedmpi.round.server_optimizer import ServerOptimizer
from tests.algorithms.problem import experiment, simulate

OLD = {"weights": np.array([1.0, -2.0], np.float32)}
MEAN = {"weights": np.array([1.5, -2.25], np.float32), "other": np.zeros(1)}
CHANGE = np.array([0.5, -0.25])


WHOLE = SimpleNamespace(layout=SimpleNamespace(trained=np.ones(2, bool)), kept=lambda state: None)


def steps(number, **keys):
    server, state = ServerOptimizer(ServerSection(**keys), WHOLE), OLD
    for _ in range(number):
        state = server.step(state, MEAN | {"weights": state["weights"] + CHANGE.astype("f4")} | {
            k: v for k, v in state.items() if k.startswith("server")})
    return state


def test_the_average_is_taken_as_it_is():
    assert ServerOptimizer(ServerSection(), WHOLE).step(OLD, MEAN) is MEAN


def test_sgd_with_lr_one_and_no_momentum_is_the_average():
    assert steps(1, optimizer="sgd")["weights"].tolist() == [1.5, -2.25]


def test_momentum_adds_up():
    state = steps(2, optimizer="sgd", momentum=0.5, lr=2.0)
    np.testing.assert_allclose(state["weights"], OLD["weights"] + 2 * (CHANGE + 1.5 * CHANGE))
    assert "other" in state  # the algorithm's own state stays


@pytest.mark.parametrize("name", ["adam", "yogi", "adagrad"])
def test_adaptive_steps_follow_their_formulas(name):
    """The second change is small, so v of Yogi falls; the third goes the other way."""
    server, state = ServerOptimizer(ServerSection(optimizer=name, lr=0.1), WHOLE), OLD
    weights, m, v = OLD["weights"].astype(np.float64), 0.0, 0.0
    for change in (CHANGE, CHANGE / 20, -CHANGE):
        m, square = 0.9 * m + 0.1 * change, change**2
        v = {
            "adam": 0.99 * v + 0.01 * square,
            "yogi": v - 0.01 * square * np.sign(v - square),
            "adagrad": v + square,
        }[name]
        weights = weights + 0.1 * m / (np.sqrt(v) + 1e-3)
        state = server.step(state, {"weights": state["weights"] + change.astype(np.float32)})
        np.testing.assert_allclose(state["weights"], weights, rtol=1e-5)


FAR = "server={optimizer='sgd', lr=2.0, momentum=0.9}"


@pytest.mark.parametrize("name", ["static-mask", "feddip", "flash"])
def test_pruned_weights_stay_pruned(name):
    """That a weight was pruned counted as a step of the clients, which momentum went on with."""
    run, _ = simulate(name, (FAR,))
    pruned = run.algorithm.kept(run.state) == 0
    assert pruned.sum() > 100 and not run.state["weights"][pruned].any()
    assert not run.state["server_m"][pruned].any() and run.state["server_m"].any()


def test_running_statistics_are_the_mean_of_the_clients():
    """They have no gradient; with momentum a variance became negative."""
    (run, _), (plain, _) = (simulate("fedavg", ("run.rounds=1", *more)) for more in ((FAR,), ()))
    still = ~run.experiment.layout.trained
    found, mean = run.state["weights"], plain.state["weights"]
    np.testing.assert_array_equal(found[still], mean[still])
    assert not np.allclose(found[~still], mean[~still])
    run, _ = simulate("fedavg", (FAR,))
    tensors = run.experiment.layout.tensors
    (variance,) = (t.block for t in tensors if t.name.endswith("running_var"))
    assert (run.state["weights"][variance] > 0).all()


@pytest.mark.parametrize(("name", "why"), [("dpf", "'dense'"), ("sparsyfed", "'parameters'"),
                                           ("fedpm", "bits")])
def test_a_method_whose_clients_do_not_start_from_the_weights_is_refused(name, why):
    """The server's step moved the weights that were evaluated, and training never saw it."""
    with pytest.raises(ConfigError, match=rf"server.optimizer = 'sgd': .*{name}.*{why}"):
        experiment(name, (FAR,))


def test_a_step_of_the_server_that_is_too_large_is_named_where_the_next_clients_diverge():
    far = ("model.name=softmax", "server={optimizer='sgd', lr=1e30}")
    with pytest.raises(RejectedError, match=r"\nlower optimizer.lr or server.lr and run again"):
        simulate("fedavg", far)
