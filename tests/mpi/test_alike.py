"""Equal data on all ranks: made once on rank 0, or compared before a round is trained."""

import numpy as np
import pytest

from fedmpi.comm.alike import alike
from fedmpi.comm.base import Serial
from fedmpi.errors import AlikeError, ConfigError
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.first_rank import partition_of, weights_of
from fedmpi.experiment.resolve import of_tree
from fedmpi.experiment.stop import NoSignals
from fedmpi.experiment.twice import train_twice
from fedmpi.learn.partitions import Partition
from fedmpi.round.loop import Simulation

TREE = {
    "run": {"rounds": 2, "engine": "torch"},
    "clients": {"number": 5, "local_steps": 2},
    "model": {"name": "softmax"},
}


def test_weights_and_partition_are_those_of_the_first_rank(comm):
    odd = np.array([np.nan, -0.0, 1e-45, -3.5, comm.rank], np.float32)
    found = weights_of(comm, odd)
    odd[4] = 0
    assert found.dtype == np.float32 and found.tobytes() == odd.tobytes()
    for groups in (None, np.array([7, 9])):
        made = Partition(np.array([2, 0, 1]), np.array([0, 1, 3]), groups)
        got = partition_of(comm, made if comm.rank == 0 else None)
        assert got.order.tolist() == [2, 0, 1] and got.starts.tolist() == [0, 1, 3]
        assert (got.groups is None) == (groups is None)
        assert groups is None or got.groups.tolist() == [7, 9]
    with pytest.raises(AlikeError, match="the model of rank 1 has 2 parameters"):
        weights_of(comm, np.zeros(1 + min(comm.rank, 1), np.float32))


def absent(comm):
    """Meet an error on the last rank alone, which all must raise."""
    with alike(comm):
        if comm.rank == comm.size - 1:
            raise ConfigError("caf\udce9.toml: absent")


def test_the_error_of_one_rank_is_raised_on_all_whatever_its_letters(comm):
    with pytest.raises((AlikeError, ConfigError), match="toml: absent") as found:
        absent(comm)
    assert found.value.exit_code == ConfigError.exit_code


@pytest.mark.parametrize(("method", "time"), [("Counts", "second"), ("ByProcess", "first"),
                                              ("Remembers", "")])
def test_clients_that_train_otherwise_on_another_rank_are_found(comm, method, time):
    tree = TREE | {"algorithm": {"name": f"tests.faults.own:{method}"}}
    experiment = assemble(of_tree(tree), comm, None)
    if not time:
        return train_twice(experiment, comm, 3)
    with pytest.raises(AlikeError, match=f"client 0 sends different bits the {time} time on rank"):
        train_twice(experiment, comm, 3)
    return None


@pytest.mark.parametrize("model", ["resnet20", "char-lstm"])
def test_networks_with_statistics_and_steps_are_the_same_on_any_number_of_ranks(comm, model):
    data = "tests.faults.own:verses" if model == "char-lstm" else "digits"
    tree = {"run": {"rounds": 2, "eval_every": 2, "engine": "torch"}, "data": {"name": data},
            "model": {"name": model},
            "clients": {"number": 4, "per_round": 3, "local_steps": 1, "batch_size": 4}}
    many, alone = (Simulation(assemble(of_tree(tree), ranks, None), ranks, NoSignals())
                   for ranks in (comm, Serial()))
    row, expected = many.round(), alone.round()
    assert row.columns["train_loss"] == expected.columns["train_loss"]
    np.testing.assert_array_equal(many.state["weights"], alone.state["weights"])
