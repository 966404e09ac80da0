"""Samples that clients draw when they train: the same run as with all of them in memory."""

from dataclasses import replace
from weakref import WeakSet

import numpy as np
import pytest

import fedmpi
from fedmpi.comm.base import Serial
from fedmpi.errors import ConfigError, DataError
from fedmpi.exchange import Failure, Job
from fedmpi.experiment import resolve
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.stop import NoSignals
from fedmpi.experiment.trial import memory_of_a_device
from fedmpi.layout import Support
from fedmpi.learn.data import Dataset, OnDemand, load
from fedmpi.plan import Plan
from fedmpi.round import columns
from fedmpi.round.loop import Simulation

CLIENTS = 40
TREE = {
    "run": {"engine": "kernels", "rounds": 3},
    "data": {"name": "synthetic-on-demand", "partition": "natural", "test_clients": 12},
    "clients": {"number": CLIENTS, "per_round": 9, "batch_size": 16},
    "model": {"name": "softmax"},
    "optimizer": {"lr": 0.02},
}
HERE = "tests.learn.data.test_on_demand"


@fedmpi.dataset
def in_memory(root):
    """Draw the samples of all clients at once."""
    found = load("synthetic-on-demand", options={"test_clients": 12})
    sizes = found.on_demand.sizes(CLIENTS)
    x, y = zip(*(found.client(k, int(sizes[k])) for k in range(CLIENTS)), strict=True)
    groups = np.repeat(np.arange(CLIENTS), sizes), found.groups_test
    train, test = (np.concatenate(x), np.concatenate(y)), (found.x_test, found.y_test)
    return Dataset.of("twin", "features", train, test, 10, groups)


@fedmpi.dataset
def short(root):
    """Draw a sample less than promised."""
    x, y = np.zeros((4, 3), np.float32), np.arange(4)
    source = OnDemand(lambda clients: np.full(clients, 4), lambda client, size: (x[1:], y[1:]))
    return Dataset.drawn("short", "features", source, (x, y), 4, np.zeros(4, np.int64))


def letters(client, size):
    """Draw texts of a client, of 5 characters of 7."""
    text = np.random.default_rng(client).integers(0, 7, (size, 6))
    return text[:, :5].astype(np.uint8), text[:, 5]


@fedmpi.dataset
def texts(root, drawn=True):
    """Return three clients' texts, drawn on demand or all in memory."""
    test, groups = letters(9, 6), np.arange(6) % 3
    if drawn:
        source = OnDemand(lambda clients: np.full(clients, 4), letters)
        return Dataset.drawn("texts", "text", source, test, 7, groups)
    train = [np.concatenate(parts) for parts in zip(*(letters(k, 4) for k in range(3)))]
    return Dataset.of("texts", "text", train, test, 7, (np.repeat(np.arange(3), 4), groups))


def changed(**sections):
    return {name: TREE.get(name, {}) | sections.get(name, {}) for name in TREE | sections}


def made(tree):
    return assemble(resolve.of_tree(tree), Serial(), None)


def run(tree):
    simulation = Simulation(made(tree), Serial(), NoSignals())
    return [simulation.round() for _ in range(3)], simulation


BATCHED = {"engine": "batched", "chunk": 3}


@pytest.mark.parametrize(
    ("method", "how"),
    [("fedavg", {}), ("scaffold", {}), ("fedmtl", {}), ("scaffold", BATCHED), ("fedmtl", BATCHED)],
)
def test_it_is_the_run_with_all_samples_in_memory(method, how):
    few = {"local_steps": 3} if how else {}
    tree = changed(algorithm={"name": method}, run=how, clients=few)
    rows, drawn = run(tree)
    tree |= {"data": {"name": f"{HERE}:in_memory", "partition": "natural"}}
    same, held = run(tree)
    np.testing.assert_array_equal(drawn.state["weights"], held.state["weights"])
    for row, other in zip(rows, same, strict=True):
        np.testing.assert_array_equal(row.clients, other.clients)
        for name in ("test_accuracy", "train_loss", "bytes_up", "virtual_time"):
            assert row.columns[name] == other.columns[name]
    assert len(drawn.experiment.dataset.x_train) == 0
    assert (drawn.state["weights"] != drawn.experiment.weights).mean() > 0.9
    if method == "fedavg":  # the mean over the clients of the test set, each with its own mix
        data = held.experiment.dataset
        right = drawn.experiment.engine.outputs(drawn.state["weights"], data.x_test).argmax(1)
        found = [right[data.y_test == k] == k for k in range(10)]
        rates = [part.sum() / max(len(part), 1) for part in found]
        mine = [np.mean([rates[y] for y in data.y_test[data.groups_test == c]]) for c in range(12)]
        assert rows[-1].columns["local_accuracy"] == pytest.approx(np.mean(mine))


@pytest.mark.parametrize("how", [{"engine": "torch"}, BATCHED])
def test_texts_that_are_drawn_are_followed_token_by_token(how):
    """The loss, the metric and the sample by which a model is laid out are those of the twin."""
    model = {"name": "char-transformer", "width": 8, "depth": 1, "heads": 1, "every_token": True,
             "loss": "next-token", "metrics": ["perplexity"]}  # fmt: skip
    runs = []
    for drawn in (True, False):
        data = {"name": f"{HERE}:texts", "partition": "natural", "drawn": drawn}
        tree = changed(run=how, clients={"number": 3, "per_round": 2})
        runs.append(run(tree | {"model": model, "data": data}))
    (rows, one), (same, other) = runs
    np.testing.assert_array_equal(one.state["weights"], other.state["weights"])
    assert [row.metrics for row in rows] == [row.metrics for row in same]
    assert rows[-1].metrics["perplexity"] > 1
    assert len(one.experiment.engine.data.held(1)) == 4


def test_clients_do_not_depend_on_how_many_there_are():
    few, many = (load("synthetic-on-demand").on_demand.sizes(n) for n in (50, 70_000))
    np.testing.assert_array_equal(few, many[:50])
    assert many.dtype.itemsize == 2 and many.min() >= 5 and many.max() <= 1000


def test_more_clients_than_samples_of_the_test_set_take_no_memory_each():
    """Of a million clients only the number of samples is held, and where a memory is."""
    experiment = made(changed(clients={"number": 1_000_000, "per_round": 10}))
    devices = experiment.devices.individual()
    held = [experiment.sizes, experiment.memories._home, *devices.values()]
    assert sum(array.nbytes for array in held) <= 40 * 1_000_000
    assert isinstance(experiment.holders, range) and experiment.partition.clients == 1_000_000
    row = Simulation(experiment, Serial(), NoSignals()).round()
    assert len(row.clients) == 10 and row.clients["client"].max() > 100_000


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="use 'natural'"):
        made(changed(data={"partition": "iid"}))
    data = {"name": f"{HERE}:short", "partition": "natural"}
    for how in ({}, BATCHED):
        tree = changed(run=how, clients={"number": 5, "per_round": 2}) | {"data": data}
        with pytest.raises(DataError, match=r"client \d+: drew \[3, 3\], must be \[4, 3\]"):
            run(tree)


def test_a_chunk_holds_the_samples_of_its_own_clients_alone():
    """And an error in the arithmetic of a client's draw is a failure of this client."""
    experiment = made(changed(run=BATCHED, clients={"number": 40, "per_round": 40}))
    engine, draw, alive = experiment.engine, experiment.engine.data.draw, WeakSet()

    def watched(client):
        if client == 7:
            raise FloatingPointError("too large")
        assert len(alive) < engine.networks.whole.backend.slots(3)
        samples = draw(client)
        alive.add(engine._stock(samples))
        return samples

    engine.data = replace(engine.data, draw=watched)
    whole, state = Support.all(engine.layout), {"weights": experiment.weights}
    plan = Plan(whole, whole, steps=2, statistics=("gradient",))
    found = list(engine.train(Job(c, 0, state, plan, 0.1) for c in range(40)))
    assert [f.client for f in found if isinstance(f, Failure)] == [7]
    assert not alive
    engine.data = replace(engine.data, draw=draw)
    held, slots = memory_of_a_device(experiment)
    assert held > slots * engine.data.largest_drawn(engine.networks.sample) > 0
    assert engine.data.largest_drawn(np.zeros((1, 5), "f4")) == 20 * int(experiment.sizes.max())


def test_a_sample_of_the_rows_is_recorded_alike():
    rows = np.zeros(5000, columns.CLIENT)
    rows["client"] = np.arange(5000)
    one, same, other = (columns.rows_to_store(rows, "sample", 3, k)["client"] for k in (4, 4, 5))
    np.testing.assert_array_equal(one, same)
    assert len(one) == len(np.unique(one)) == 1000 and (np.diff(one) > 0).all()
    assert (one != other).any() and one.mean() == pytest.approx(2500, abs=150)
    assert len(columns.rows_to_store(rows, "none", 3, 4)) == 0
    assert columns.rows_to_store(rows, "all", 3, 4) is rows
