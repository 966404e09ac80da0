"""local_accuracy, recomputed the slow way from the model that each client really has."""

from dataclasses import replace

import numpy as np
import pytest

from fedmpi.learn.evaluate import OwnScore, Score
from fedmpi.learn.partitions import held_out
from fedmpi.learn.partitions.label_mix import label_mix
from fedmpi.learn.partitions.partition import from_owner
from fedmpi.learn.sample_arrays import Samples
from fedmpi.rng import rng_for
from tests.algorithms.problem import experiment, fedavg, simulate

SKEWED = ("data.alpha=0.05", "run.rounds=12", "clients.local_steps=30", "optimizer.lr=0.1")
# Methods that keep something with their clients, with keys under which it matters soon.
PERSONAL = {
    "fedskel": {"updates_per_set": 1, "ratio": 0.5},
    "lg-fedavg": {"shared": 2},
    "lotteryfl": {"accuracy": 0.0, "rate": 0.3},
    "fedlp-hetero": {"prefer": "uniform"},
    "heterofl": {"widths": [1.0, 0.5]},
    "sub-fedavg": {"accuracy": 0.0, "rate": 0.3},
    "fedmtl": {},
    "fedbn": {},
}
RIGHT, COUNT = np.array([8, 3]), np.array([10, 10])  # of the global model, by class
CLIENTS = 12  # of the problem
# Four clients have 4, 4, 0 and 2 samples: of classes [4, 0], [1, 3], [0, 0] and [0, 2].
LABELS = np.array([0, 1, 0, 1, 0, 1, 0, 0, 1, 1])
HELD = from_owner(np.array([0, 1, 0, 1, 0, 1, 1, 0, 3, 3]), 4)
MIX = label_mix(HELD, LABELS, 2)


def test_three_numbers_by_hand():
    """Global: 0.8, 0.425, 0.3 (client 2 has nothing). Client 1's own model gets 3 of 4 right."""
    score = Score(0.0, RIGHT, COUNT)
    assert score.local_accuracy(MIX) == pytest.approx((0.8 + 0.425 + 0.3) / 3)
    asked = [np.array(v) for v in ([0, 1, 3], [0, 3, 0], [0, 4, 0])]
    own = Score(0.0, RIGHT, COUNT, OwnScore(*asked, among=3))
    assert own.local_accuracy(MIX) == pytest.approx((0.8 + 0.75 + 0.3) / 3)
    # One client of three was tested; its gain stands for all clients.
    drawn = Score(0.0, RIGHT, COUNT, OwnScore(*(v[1:2] for v in asked), among=3))
    assert drawn.local_accuracy(MIX) == pytest.approx((0.8 + 0.425 + 0.3) / 3 + 0.75 - 0.425)
    # Client 1 was drawn from 30: its gain counts 30 times in a mean over three clients.
    worse = Score(0.0, RIGHT, COUNT, OwnScore(asked[0][1:2], np.array([0]), asked[2][1:2], 30))
    assert worse.local_accuracy(MIX) == 0
    better = Score(0.0, RIGHT, COUNT, OwnScore(asked[0][1:2], *[asked[2][1:2]] * 2, among=30))
    assert better.local_accuracy(MIX) == 1
    nobody = Score(0.0, RIGHT, COUNT, OwnScore(asked[0], asked[1] * 0, asked[2] * 0, among=3))
    assert nobody.local_accuracy(MIX) == score.local_accuracy(MIX)


def test_classes_without_test_samples_are_left_out():
    """Client 1 is scored on class 0 alone; clients 2 and 3 have nothing that could be scored."""
    mix = label_mix(HELD, LABELS, 2, np.array([True, False]))
    score = Score(0.0, np.array([8, 0]), np.array([10, 0]))
    assert score.local_accuracy(mix) == pytest.approx(0.8)
    assert Score(0.0, np.array([10, 0]), np.array([10, 0])).local_accuracy(mix) == 1
    asked = (np.array([1]), np.array([1]), np.array([1]))
    own = Score(0.0, score.right, score.count, OwnScore(*asked, among=2))
    assert own.local_accuracy(mix) == pytest.approx(0.8 + 0.2)


def test_a_run_leaves_out_the_classes_that_its_test_set_lacks():
    made = experiment("fedavg")
    held = made.dataset.y_test < 7
    data = replace(made.dataset, x_test=made.dataset.x_test[held], y_test=made.dataset.y_test[held])
    mix = replace(made, dataset=data, test=Samples(data.x_test, data.y_test)).label_mix
    assert not mix.mean[7:].any() and mix.mean.sum() == pytest.approx(1)


def slowly(simulation):
    """Return the mean over clients of their models' accuracy, one client after another."""
    made, state = simulation.experiment, simulation.state
    data, partition = made.dataset, made.engine.data.partition
    rng = rng_for(made.config.run.seed, "test-split")
    split = held_out(partition, data.y_train, (data.y_test, None), data.classes, rng)
    x, y = made.test.take(np.arange(len(made.test)))
    whole = made.engine.outputs(state["weights"], x).argmax(axis=1) == y
    rates = np.array([whole[y == label].mean() for label in range(data.classes)])
    found = []
    for client in range(made.config.clients.number):
        labels = data.y_train[partition.of(client)]
        weights = model_of(simulation, client)
        if weights is None:
            found.append(rates[labels].mean())
            continue
        index = split.of(client)
        part, private = parts_of(simulation, client)
        network = made.engine.networks.of(part)
        outputs = network.backend.outputs(network.enter(weights, private), x[index])
        found.append((outputs.argmax(axis=1) == y[index]).mean())
    return np.mean(found)


def of_the_mean(simulation):
    """Return the accuracy on all test samples of the plain mean of all clients' models."""
    made, state = simulation.experiment, simulation.state
    models = [model_of(simulation, client) for client in range(CLIENTS)]
    models = [state["weights"] if model is None else model for model in models]
    x, y = made.test.take(np.arange(len(made.test)))
    mean = np.mean(models, axis=0, dtype=np.float64).astype(np.float32)
    return (made.engine.outputs(mean, x).argmax(axis=1) == y).mean()


def model_of(simulation, client):
    """Return a client's weights from its memory and the global ones, None if there is no own."""
    made, memory = simulation.experiment, simulation.memories[client]
    weights, layout = simulation.state["weights"].copy(), made.layout
    name = made.config.algorithm.name
    if name == "heterofl":
        return weights if made.algorithm.width_of(client) else None
    if name == "fedlp-hetero":
        return weights if made.algorithm.level_of(client) < 5 else None
    if not memory:
        return None
    if name == "fedmtl":
        return memory["own"]
    if name == "fedbn":
        for name in ("bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"):
            block = layout.slice(name)
            weights[block], memory["own"] = np.split(memory["own"], [4])
        assert not len(memory["own"])
        return weights
    if name in ("lotteryfl", "sub-fedavg"):
        mask = np.unpackbits(memory["mask"], count=layout.size)
        return None if mask.all() else weights * mask
    if name == "lg-fedavg":
        weights[: len(memory["own"])] = memory["own"]  # its shared layers are the last ones
        return weights
    kept, own = list(memory["skeleton"]), list(memory["personal"])
    for tensor in layout.tensors:
        before = sum(layer.rows for layer in layout.layers[: tensor.layer])
        rows = weights[tensor.start : tensor.start + tensor.size].reshape(tensor.rows, -1)
        for row in range(tensor.rows):
            if not kept[before + row]:
                rows[row] = own[: rows.shape[1]]
                del own[: rows.shape[1]]
    assert not own
    return weights


def parts_of(simulation, client):
    """Return the smaller network that a client trains, and its private end."""
    algorithm, state = simulation.algorithm, simulation.state
    if simulation.experiment.config.algorithm.name not in ("heterofl", "fedlp-hetero"):
        return None, None
    plan = algorithm.plan(state, 99, client)
    return plan.submodel, plan.private


@pytest.mark.parametrize("name", sorted(PERSONAL))
def test_it_is_that_of_each_clients_own_model(name):
    simulation, rows = simulate(name, ("data.partition=dirichlet",), **PERSONAL[name])
    assert simulation.algorithm.personal
    assert rows[-1].columns["local_accuracy"] == pytest.approx(slowly(simulation), abs=1e-12)
    off, before = simulate(name, ("run.own_models=0",), **PERSONAL[name])
    assert before[-1].columns["local_accuracy"] != rows[-1].columns["local_accuracy"]
    assert before[-1].columns["test_accuracy"] == rows[-1].columns["test_accuracy"]
    mean = rows[-1].columns["own_mean_accuracy"]
    assert np.isnan(before[-1].columns["own_mean_accuracy"])
    if any(parts_of(simulation, client)[0] for client in range(CLIENTS)):
        assert np.isnan(mean)
    else:
        assert mean == of_the_mean(simulation)
    assert np.array_equal(off.state["weights"], simulation.state["weights"])


def test_without_private_parts_it_is_that_of_the_global_model():
    _, rows = fedavg("model.name=tests.algorithms.problem:convs")
    for name, keys in (("lg-fedavg", {"shared": 99}), ("fedskel", {"ratio": 1.0})):
        _, found = simulate(name, **keys)
        one, other = ([r.columns["local_accuracy"] for r in rs] for rs in (found, rows))
        assert one == other


def test_a_few_clients_stand_for_all():
    keys = PERSONAL["lg-fedavg"]
    simulation, rows = simulate("lg-fedavg", ("run.own_models=4",), **keys)
    _, same = simulate("lg-fedavg", ("run.own_models=4",), **keys)
    exact = slowly(simulation)
    found = [row.columns["local_accuracy"] for row in rows]
    assert found == [row.columns["local_accuracy"] for row in same]
    assert found[-1] != exact and found[-1] == pytest.approx(exact, abs=0.25)


@pytest.mark.parametrize("name", ["fedskel", "lg-fedavg"])
def test_own_models_are_better_than_the_global_one_under_label_skew(name):
    """One or two classes a client, as in the papers: the local test is above the new test."""
    _, rows = simulate(name, SKEWED, **PERSONAL[name])
    local, new = (
        np.mean([row.columns[column] for row in rows[-6:]])
        for column in ("local_accuracy", "test_accuracy")
    )
    assert local > new + 0.05
