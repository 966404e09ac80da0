"""Samples that clients draw when they train: the same bits on these ranks as on one."""

import pytest

from fedmpi.comm.base import Serial
from fedmpi.experiment import resolve
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.stop import NoSignals
from fedmpi.round.loop import Simulation
from tests.learn.data.test_on_demand import BATCHED, changed

COLUMNS = ("test_accuracy", "local_accuracy", "train_loss", "bytes_up", "virtual_time")


def run(how, comm):
    few = {"local_steps": 3} if how else {}
    tree = changed(
        run=how, algorithm={"name": "scaffold"}, devices={"profile": "mobile"}, clients=few
    )
    simulation = Simulation(assemble(resolve.of_tree(tree), comm, None), comm, NoSignals())
    return [simulation.round() for _ in range(3)], simulation


def one_rank(how):
    """Return the rounds of one rank and the state after them."""
    rows, simulation = run(how, Serial())
    return rows, simulation.state


@pytest.mark.alone(run=one_rank)
@pytest.mark.parametrize("how", [{}, BATCHED])
def test_any_number_of_ranks_draws_the_same_samples(how, comm, alone):
    """SCAFFOLD on devices that differ; the model and what is for each client lie once on a node."""
    expected, state = alone
    rows, together = run(how, comm)
    for name, array in state.items():
        assert array.tobytes() == together.state[name].tobytes(), name
    for row, other in zip(rows, expected, strict=True):
        assert [row.columns[name] for name in COLUMNS] == [other.columns[name] for name in COLUMNS]
        same = [name for name in row.clients.dtype.names if name != "rank"]
        assert (row.clients[same] == other.clients[same]).all()
    experiment = together.experiment
    held = [experiment.sizes, *experiment.devices.individual().values()]
    assert all(not array.flags.owndata for array in held)
    assert len(experiment.devices.individual()) == 4
