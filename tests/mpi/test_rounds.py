"""The round loop over ranks: any placement of the clients gives the same bits."""

import numpy as np
import pytest
from tests.sim.test_rounds import TREE

from fedmpi.sim import rounds
from fedmpi.sim.experiment import assemble
from fedmpi.sim.resolve import of_tree
from fedmpi.sim.stop import Never

METHODS = {
    "fedavg": {},
    "fedlp": {"p": 0.4},
    "fedskel": {"ratio": 0.5, "updates_per_set": 1},
}


def weights_after(comm, method, rounds_to_run):
    tree = TREE | {"model": {"name": "mlp"}, "algorithm": {"name": method} | METHODS[method]}
    run = rounds.Simulation(assemble(of_tree(tree), comm, None), comm, Never())
    times = [run.round().columns["virtual_time"] for _ in range(rounds_to_run)]
    return run.state["weights"], times


@pytest.mark.parametrize("method", METHODS)
def test_shuffled_placement_changes_nothing(comm, monkeypatch, method):
    expected, times = weights_after(comm, method, 5)
    for seed in range(2):
        draw = np.random.default_rng(seed)  # the same on all ranks, as a placement must be
        monkeypatch.setattr(
            rounds, "place", lambda costs, pace, d=draw: d.integers(0, comm.size, len(costs))
        )
        shuffled, again = weights_after(comm, method, 5)
        np.testing.assert_array_equal(shuffled, expected)
        assert again == times


def test_one_client_for_many_ranks_leaves_some_idle(comm):
    tree = TREE | {"clients": {"number": 9, "per_round": 1}}
    run = rounds.Simulation(assemble(of_tree(tree), comm, None), comm, Never())
    assert run.round().columns["clients_completed"] == 1
