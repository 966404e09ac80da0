"""The round loop over ranks: any placement of the clients gives the same bits."""

from functools import partial
from typing import get_args

import numpy as np
import pytest

from fedmpi.algorithms.fedavg import FedAvg
from fedmpi.comm.base import Serial
from fedmpi.comm.reduce.auto import NAMES
from fedmpi.comm.reduce.reducer import CHOICES
from fedmpi.config import CollectiveSection
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import of_tree
from fedmpi.experiment.stop import NoSignals
from fedmpi.record.schema import COLLECTIVES
from fedmpi.round import placement
from fedmpi.round.loop import Simulation
from tests.round.test_loop import TREE

ALGORITHMS = get_args(CollectiveSection.model_fields["algorithm"].annotation)
ASYNC = {
    "devices": {"profile": "mobile", "availability": 0.8, "dropout": 0.15, "jitter": 0.2},
    "schedule": {"mode": "async", "buffer_size": 2, "max_staleness": 1},
}
UNRELIABLE = {
    "devices": {"profile": "tiers", "availability": 0.15, "dropout": 0.2},
    "schedule": {"mode": "deadline", "deadline_s": 0.3, "over_select": 1.5},
}

FITTED = {
    "devices": {"profile": "tiers", "policy": "fit-deadline"},
    "schedule": {"mode": "deadline", "deadline_s": 0.25},
}

METHODS = {
    "fedavg": {},
    "fedlp": {"p": 0.4},
    "fedskel": {"ratio": 0.5, "updates_per_set": 1},
    "scaffold": {},
    "topk": {"share": 0.05},
}


PLANNED = ("fedavg", "fedlp", "fedskel")  # their supports are known before they train


@pytest.fixture(scope="module")
def three_rounds(comm):
    """Return the weights and times of three rounds of FedSkel, with the collective of `auto`."""
    return weights_after(comm, "fedskel", 3)


def weights_after(comm, method, rounds_to_run):
    tree = TREE | {"model": {"name": "mlp"}, "algorithm": {"name": method} | METHODS[method]}
    run = Simulation(assemble(of_tree(tree), comm, None), comm, NoSignals())
    times = [run.round().columns["virtual_time"] for _ in range(rounds_to_run)]
    return run.state["weights"], times


def seen_in_12_rounds(method, sections, comm=None):
    """Return for each of 12 rounds the weights after it, its columns and rows of clients."""
    tree = TREE | sections | {"model": {"name": "mlp"}}
    tree |= {"algorithm": {"name": method} | METHODS[method]}
    ranks = comm or Serial()
    run = Simulation(assemble(of_tree(tree), ranks, None), ranks, NoSignals())
    seen = []
    for _ in range(12):
        row = run.round()
        seen.append((run.state["weights"].copy(), row.columns, row.clients))
    return seen


def same_as_alone(found, expected):
    """Compare rounds of many ranks with those of one rank; return the clients' statuses."""
    became = set()
    for (weights, columns, clients), (same, alike, others) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(weights, same)
        for name in set(clients.dtype.names) - {"rank"}:
            np.testing.assert_array_equal(clients[name], others[name], name)
        for name in ("virtual_time", "train_loss", "bytes_up", "density_up", "clients_completed"):
            np.testing.assert_array_equal(columns[name], alike[name], name)
        became |= set(clients["status"].tolist()) if len(clients) else {"nobody"}
    return became


@pytest.mark.parametrize("method", PLANNED)
def test_shuffled_placement_changes_nothing(comm, monkeypatch, method):
    expected, times = weights_after(comm, method, 3)
    for seed in range(2):
        draw = np.random.default_rng(seed)  # the same on all ranks, as a placement must be
        monkeypatch.setattr(
            placement, "assign", lambda costs, pace, d=draw: d.integers(0, comm.size, len(costs))
        )
        shuffled, again = weights_after(comm, method, 3)
        np.testing.assert_array_equal(shuffled, expected)
        assert again == times


class Remembers(FedAvg):
    """FedAvg whose state has the arrays of the first sum, not copies of them."""

    def step(self, state, sums, round):
        first = {name: getattr(sums["weights"], name) for name in ("sum", "cover", "touched")}
        return first | super().step(state, sums, round)


def test_a_state_may_have_arrays_of_a_sum(comm):
    tree = TREE | {"model": {"name": "mlp"}, "algorithm": {"name": f"{__name__}:Remembers"}}
    run = Simulation(assemble(of_tree(tree), comm, None), comm, NoSignals())
    run.round()
    first = {name: array.copy() for name, array in run.state.items()}
    run.round()
    for name in ("sum", "cover", "touched"):
        np.testing.assert_array_equal(run.state[name], first[name])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_collective_gives_the_same_bits(comm, algorithm, three_rounds):
    expected, times = three_rounds
    comm.sum_by(algorithm)
    try:
        found, again = weights_after(comm, "fedskel", 3)
    finally:
        comm.sum_by("auto")
    np.testing.assert_array_equal(found, expected)
    assert again == times


def test_the_configuration_names_every_collective_and_the_schema_too():
    assert ALGORITHMS == CHOICES
    assert ("none", "node", *NAMES) == COLLECTIVES


def test_one_client_for_many_ranks_leaves_some_idle(comm):
    tree = TREE | {"clients": {"number": 9, "per_round": 1}}
    run = Simulation(assemble(of_tree(tree), comm, None), comm, NoSignals())
    assert run.round().columns["clients_completed"] == 1


@pytest.mark.alone(run=partial(seen_in_12_rounds, sections=UNRELIABLE))
@pytest.mark.parametrize("method", PLANNED)
def test_late_lost_and_absent_clients_are_the_same_on_any_number_of_ranks(comm, method, alone):
    seen = same_as_alone(seen_in_12_rounds(method, UNRELIABLE, comm), alone)
    assert seen == {0, 1, 2, "nobody"}  # completed, late, dropped


@pytest.mark.alone(run=partial(seen_in_12_rounds, sections=ASYNC))
@pytest.mark.parametrize("method", METHODS)
def test_asynchronous_rounds_are_the_same_on_any_number_of_ranks(comm, method, alone):
    assert same_as_alone(seen_in_12_rounds(method, ASYNC, comm), alone) == {0, 1, 2}


LEARNED = {"clients": TREE["clients"] | {"selection": "oort", "explore": 0.5}}
HIDDEN = UNRELIABLE | {
    "stage": ({"name": "secure", "neighbours": 8},), "devices": {"dropout": 0.2},
    "clients": TREE["clients"] | {"per_round": 9},
}  # fmt: skip
# The cases: a method, sections of its experiment, and statuses of its clients.
OTHERS = {
    "what a rule learned": ("fedavg", LEARNED, {0}),
    "masks that cancel": ("fedavg", HIDDEN, {0, 2}),
    "what fits a device": ("fedskel", FITTED, {0, 1}),
}


def other(what, comm=None):
    method, sections, _ = OTHERS[what]
    return seen_in_12_rounds(method, sections, comm)


@pytest.mark.alone(run=other)
@pytest.mark.parametrize("what", OTHERS)
def test_these_are_the_same_on_any_number_of_ranks(comm, what, alone):
    assert same_as_alone(other(what, comm), alone) == OTHERS[what][2]
