"""The round loop over ranks: any placement of the clients gives the same bits."""

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


PLANNED = ("fedavg", "fedlp", "fedskel")  # what they send is known before they train


def weights_after(comm, method, rounds_to_run):
    tree = TREE | {"model": {"name": "mlp"}, "algorithm": {"name": method} | METHODS[method]}
    run = Simulation(assemble(of_tree(tree), comm, None), comm, NoSignals())
    times = [run.round().columns["virtual_time"] for _ in range(rounds_to_run)]
    return run.state["weights"], times


@pytest.mark.parametrize("method", PLANNED)
def test_shuffled_placement_changes_nothing(comm, monkeypatch, method):
    expected, times = weights_after(comm, method, 5)
    for seed in range(2):
        draw = np.random.default_rng(seed)  # the same on all ranks, as a placement must be
        monkeypatch.setattr(
            placement, "place", lambda costs, pace, d=draw: d.integers(0, comm.size, len(costs))
        )
        shuffled, again = weights_after(comm, method, 5)
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
def test_every_collective_gives_the_same_bits(comm, algorithm):
    expected, times = weights_after(comm, "fedskel", 3)
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


@pytest.mark.parametrize("method", PLANNED)
def test_late_lost_and_absent_clients_are_the_same_on_any_number_of_ranks(comm, method):
    seen = seen_on_many_ranks_as_on_one(comm, method, UNRELIABLE)
    assert seen == {0, 1, 2, "nobody"}  # completed, late, dropped


@pytest.mark.parametrize("method", METHODS)
def test_asynchronous_rounds_are_the_same_on_any_number_of_ranks(comm, method):
    assert seen_on_many_ranks_as_on_one(comm, method, ASYNC) == {0, 1, 2}


def test_what_a_rule_learned_is_the_same_on_any_number_of_ranks(comm):
    section = TREE["clients"] | {"selection": "oort", "explore": 0.5}
    seen_on_many_ranks_as_on_one(comm, "fedavg", {"clients": section})


def test_masks_cancel_over_ranks(comm):
    hidden = UNRELIABLE | {"stage": ({"name": "secure", "neighbours": 8},)}
    hidden |= {"devices": {"dropout": 0.2}, "clients": TREE["clients"] | {"per_round": 9}}
    assert seen_on_many_ranks_as_on_one(comm, "fedavg", hidden) == {0, 2}


def test_what_fits_a_device_is_the_same_on_any_number_of_ranks(comm):
    assert seen_on_many_ranks_as_on_one(comm, "fedskel", FITTED) == {0, 1}


def seen_on_many_ranks_as_on_one(comm, method, sections):
    """Compare 12 rounds with those of one rank; return what became of their clients."""
    tree = TREE | sections | {"model": {"name": "mlp"}}
    tree |= {"algorithm": {"name": method} | METHODS[method]}
    many, alone = (
        Simulation(assemble(of_tree(tree), ranks, None), ranks, NoSignals())
        for ranks in (comm, Serial())
    )
    seen = set()
    for _ in range(12):
        row, expected = many.round(), alone.round()
        np.testing.assert_array_equal(many.state["weights"], alone.state["weights"])
        for name in row.clients.dtype.names:
            if name != "rank":
                np.testing.assert_array_equal(row.clients[name], expected.clients[name], name)
        for name in ("virtual_time", "train_loss", "bytes_up", "density_up", "clients_completed"):
            np.testing.assert_array_equal(row.columns[name], expected.columns[name], name)
        seen |= set(row.clients["status"].tolist())
        seen |= {"nobody"} if not len(row.clients) else set()
    return seen
