"""Experiments drawn at random: the same bits on these ranks as on one, and after a stop.

FEDMPI_DRAWN says how many, and FEDMPI_SEED which; `make soak` draws others every day.
"""

import os

import numpy as np
import pytest

from fedmpi.comm.base import Serial
from fedmpi.errors import FedmpiError
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import of_tree
from fedmpi.experiment.stop import NoSignals
from fedmpi.round.columns import CLIENT
from fedmpi.round.loop import Simulation
from tests.fuzz.experiments import ROUNDS, experiment
from tests.round.test_resumed import AskedAfter, taken_up

DRAWN, SEED = int(os.environ.get("FEDMPI_DRAWN", "2")), os.environ.get("FEDMPI_SEED", "0")
MEASURED = {"wall_time", "memory_peak", "mpi_bytes", "collective", "collective_regret"}


def begun(tree, comm):
    return Simulation(assemble(of_tree(tree), comm, None), comm, NoSignals())


def run_alone(number):
    """Return (sections, rounds, state after them) of an experiment that runs to its end."""
    name = f"{SEED} {number}"
    while True:
        tree = experiment(name)
        alone = begun(tree, Serial())
        try:
            return tree, [alone.round() for _ in range(ROUNDS)], alone.state
        except FedmpiError:  # such as of a client that is too weak for the model
            name += "+"


def compared(rows, wanted, run, state):
    """Compare rounds and the state after them, all but what is measured."""
    for row, expected in zip(rows, wanted, strict=True):
        for name, value in expected.columns.items():
            if name not in MEASURED:
                assert np.array_equal(row.columns[name], value, equal_nan=True), name
        for name in set(CLIENT.names) - {"rank"}:
            assert row.clients[name].tobytes() == expected.clients[name].tobytes(), name
    assert {name: array.tobytes() for name, array in run.state.items()} == {
        name: array.tobytes() for name, array in state.items()
    }


@pytest.mark.alone(run=run_alone)
@pytest.mark.parametrize("number", range(DRAWN))
def test_a_drawn_experiment_has_the_same_bits_on_many_ranks_and_resumed(comm, number, alone):
    tree, wanted, state = alone
    many = begun(tree, comm)
    compared([many.round() for _ in range(ROUNDS)], wanted, many, state)
    if comm.rank:
        return
    broken, again, cut = begun(tree, Serial()), begun(tree, Serial()), 1 + number % (ROUNDS - 1)
    for _ in range(cut):
        broken.round()
    broken.stop = AskedAfter(1)
    broken.round()  # is broken off, unless nobody trains in it
    taken_up(broken, again)
    after = broken.next_round
    compared([again.round() for _ in range(ROUNDS - after)], wanted[after:], again, state)
