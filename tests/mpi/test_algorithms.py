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


@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_ranks_gives_the_same_bits(name, comm):
    alone, expected = simulate(name, **KEYS.get(name, {}))
    together, rows = simulate(name, comm=comm, **KEYS.get(name, {}))
    assert alone.state.keys() == together.state.keys()
    for key, array in alone.state.items():
        assert array.tobytes() == together.state[key].tobytes(), key
    for column in COLUMNS:
        found, wanted = ([r.columns[column] for r in of] for of in (rows, expected))
        assert np.array_equal(found, wanted, equal_nan=True), column


@pytest.mark.parametrize(
    ("name", "model"),
    [("fedskel", "mlp"), ("fedskel", "lenet5"), ("heterofl", "mlp"), ("heterofl", "lenet5"),
     ("fedpm", "mlp"), ("sparsyfed", "lenet5")],
)  # fmt: skip
def test_the_batched_engine_gives_the_same_bits(name, model, comm):
    """A client lands in other slots of other chunks, beside other clients."""
    how = ("run.engine=batched", "run.chunk=3", f"model.name={model}")
    alone, expected = simulate(name, how, **KEYS.get(name, {}))
    together, rows = simulate(name, how, comm=comm, **KEYS.get(name, {}))
    for key, array in alone.state.items():
        assert array.tobytes() == together.state[key].tobytes(), key
    for column in COLUMNS:
        assert [r.columns[column] for r in rows] == [r.columns[column] for r in expected], column


STAGES = (
    'stage=[{name="clip", norm=0.5}, {name="topk", share=0.1}, '
    '{name="quantise", feedback=true}, {name="gaussian", multiplier=0.01}]',
    "clients.selection=round-robin",
)


@pytest.mark.parametrize("name", ["fedavg", "scaffold", "fedmtl"])
def test_stages_and_selectors_give_the_same_bits(name, comm):
    """Residuals follow their clients; noise and turns are alike on all ranks."""
    alone, expected = simulate(name, STAGES)
    together, rows = simulate(name, STAGES, comm=comm)
    for key, array in alone.state.items():
        assert array.tobytes() == together.state[key].tobytes(), key
    for column in COLUMNS:
        found, wanted = ([r.columns[column] for r in of] for of in (rows, expected))
        assert np.array_equal(found, wanted, equal_nan=True), column


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


@pytest.mark.parametrize("name", [name for name in NAMES if name in ("fedskel", "scaffold")])
def test_memories_end_where_their_clients_were_simulated(name, comm):
    alone, _ = simulate(name, **KEYS.get(name, {}))
    together, _ = simulate(name, comm=comm, **KEYS.get(name, {}))
    everyone = comm.gather_rows(np.array(together.store.clients(), np.int64))
    assert sorted(everyone.tolist()) == alone.store.clients()
    for client in together.store.clients():
        assert together.store.homes_of(np.array([client])) == comm.rank
        for key, array in alone.store[client].items():
            assert np.array_equal(array, together.store[client][key]), key


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_of_users_code_give_the_same_bits(kind, comm):
    tree = import_module(f"fedmpi.examples.{kind}").EXPERIMENT | {"run": {"rounds": 3}}
    found = []
    for ranks in (Serial(), comm):
        run = Simulation(assemble(of_tree(tree), ranks, None), ranks, NoSignals())
        found.append(([run.round().columns["train_loss"] for _ in range(3)], run.state))
    (losses, state), (others, other) = found
    assert losses == others
    assert state["weights"].tobytes() == other["weights"].tobytes()
