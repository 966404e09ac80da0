"""Every algorithm gives the same bits on these ranks as on one."""

from importlib import import_module

import numpy as np
import pytest

from fedmpi.algorithms import ALGORITHMS
from fedmpi.cli.new import KINDS
from fedmpi.comm.base import Serial
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import of_tree
from fedmpi.experiment.stop import NoSignals
from fedmpi.round.loop import Simulation
from tests.algorithms.problem import simulate
from tests.algorithms.test_contract import KEYS

NAMES = sorted(name for name, cls in ALGORITHMS.items() if cls.__module__.startswith("fedmpi."))
COLUMNS = (
    "bytes_up", "bytes_down", "flops", "test_accuracy", "local_accuracy", "train_loss",
    "virtual_time", "flops_inference", "own_mean_accuracy",
)  # fmt: skip


def outcome(name, how=(), comm=None):
    """Return the state of a method after its rounds, its clients' memories, and the columns."""
    run, rows = simulate(name, how, comm=comm, **KEYS.get(name, {}))
    clients = run.memories.clients()
    homes = run.memories.homes_of(np.array(clients, np.int64))
    assert set(homes.tolist()) <= {comm.rank if comm else 0}
    memories = {client: run.memories[client] for client in clients}
    return run.state, memories, [{key: row.columns[key] for key in COLUMNS} for row in rows]


def check_alike(comm, found, expected):
    """Compare what `outcome` gave on these ranks and on one; a memory is on one of the ranks."""
    (state, memories, rows), (same, all_memories, as_many) = found, expected
    check_arrays(state, same)
    for column in COLUMNS:
        here, wanted = ([row[column] for row in of] for of in (rows, as_many))
        assert np.array_equal(here, wanted, equal_nan=True), column
    everyone = comm.gather_rows(np.array(list(memories), np.int64))
    assert sorted(everyone.tolist()) == list(all_memories)
    for client, memory in memories.items():
        check_arrays(memory, all_memories[client])


def check_arrays(found, expected):
    """Compare two dicts of arrays to the last bit."""
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        assert array.tobytes() == found[key].tobytes(), key


@pytest.mark.alone(run=outcome)
@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_ranks_gives_the_same_bits(name, comm, alone):
    """So are the clients' memories, each on the rank that simulated its client last."""
    check_alike(comm, outcome(name, comm=comm), alone)


def batched(name, model, comm=None):
    """Return the outcome of a method on the batched engine, with three clients in a chunk."""
    return outcome(name, ("run.engine=batched", "run.chunk=3", f"model.name={model}"), comm)


@pytest.mark.alone(run=batched)
@pytest.mark.parametrize(
    ("name", "model"),
    [("fedskel", "mlp"), ("fedskel", "lenet5"), ("heterofl", "mlp"), ("heterofl", "lenet5"),
     ("fedpm", "mlp"), ("sparsyfed", "lenet5")],
)  # fmt: skip
def test_the_batched_engine_gives_the_same_bits(name, model, comm, alone):
    """A client lands in other slots of other chunks, beside other clients."""
    check_alike(comm, batched(name, model, comm), alone)


STAGES = (
    'stage=[{name="clip", norm=0.5}, {name="topk", share=0.1}, '
    '{name="quantise", feedback=true}, {name="gaussian", multiplier=0.01}]',
    "clients.selection=round-robin",
)


def staged(name, comm=None):
    """Return the outcome of a method with four stages and a selector."""
    return outcome(name, STAGES, comm)


@pytest.mark.alone(run=staged)
@pytest.mark.parametrize("name", ["fedavg", "scaffold", "fedmtl"])
def test_stages_and_selectors_give_the_same_bits(name, comm, alone):
    """Residuals follow their clients; noise and turns are alike on all ranks."""
    check_alike(comm, staged(name, comm), alone)


SPARSE = {
    "topk": {"share": 0.01, "feedback": False},  # no residuals that move too
    "static-mask": {"mask": "erk", "sparsity": 0.9},
    "prunefl": {"every": 100},
    "feddip": {"upload": "pruned", "start": 0.5, "end": 0.6},
    "prunetrain": {"every": 1, "threshold": 0.25},
    "adp-v2": {"salient": 0.3},
    "skeletonization": {"criterion": 100.0},
}


@pytest.fixture
def direct(comm):
    """Ranks that send each other lists, and share no memory for their sums."""
    comm.sum_by("allgatherv")
    yield comm
    comm.sum_by("auto")


@pytest.mark.parametrize("name", SPARSE)
def test_the_ranks_exchange_no_coordinate_that_no_client_sent(name, direct):
    """Each rank sends its list to the others: at most an int64 and an index for each coordinate."""
    cohort = 2 * direct.size
    clients = f"clients.number={max(12, cohort)}", f"clients.per_round={cohort}"
    fixed = ("collective.overlap=off", *clients)
    model = () if name in ("adp-v2", "prunetrain") else ("model.name=mlp",)  # needs convolutions
    run, rows = simulate(name, fixed + model, comm=direct, **SPARSE[name])
    size = run.experiment.layout.size
    for row in rows:
        lists = 1000 * direct.size * len(run.algorithm.zero())  # headers and single numbers
        most = direct.size * row.columns["density_union"] * size * (8 + 8 + 4) + lists
        assert 0 < row.columns["mpi_bytes"] <= most * (direct.size - 1)
        if name == "topk" and direct.size == 2:
            assert row.columns["mpi_bytes"] < 3 * row.columns["bytes_up"]


def example(kind, comm=None):
    """Return the losses and the state after three rounds of an example of users' code."""
    tree = import_module(f"fedmpi.examples.{kind}").EXPERIMENT | {"run": {"rounds": 3}}
    ranks = comm or Serial()
    run = Simulation(assemble(of_tree(tree), ranks, None), ranks, NoSignals())
    return [run.round().columns["train_loss"] for _ in range(3)], run.state


@pytest.mark.alone(run=example)
@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_of_users_code_give_the_same_bits(kind, comm, alone):
    losses, state = example(kind, comm)
    assert losses == alone[0]
    check_arrays(state, alone[1])
