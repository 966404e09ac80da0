"""Every algorithm gives the same bits on these ranks as on one."""

import numpy as np
import pytest

from fedmpi.algorithms import ALGORITHMS
from tests.algorithms.problem import simulate
from tests.algorithms.test_contract import KEYS

NAMES = sorted(name for name, cls in ALGORITHMS.items() if cls.__module__.startswith("fedmpi."))
COLUMNS = (
    "bytes_up", "bytes_down", "flops", "test_accuracy", "local_accuracy", "train_loss",
    "virtual_time", "flops_inference",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_ranks_gives_the_same_bits(name, comm):
    alone, expected = simulate(name, **KEYS.get(name, {}))
    together, rows = simulate(name, comm=comm, **KEYS.get(name, {}))
    assert alone.state.keys() == together.state.keys()
    for key, array in alone.state.items():
        assert array.tobytes() == together.state[key].tobytes(), key
    for column in COLUMNS:
        assert [r.columns[column] for r in rows] == [r.columns[column] for r in expected], column


@pytest.mark.parametrize("name", [name for name in NAMES if name in ("fedskel", "scaffold")])
def test_memories_end_where_their_clients_were_simulated(name, comm):
    alone, _ = simulate(name, **KEYS.get(name, {}))
    together, _ = simulate(name, comm=comm, **KEYS.get(name, {}))
    everyone = comm.gather_rows(np.array(together.store.clients(), np.int64))
    assert sorted(everyone.tolist()) == alone.store.clients()
    for client in together.store.clients():
        assert together.store.homes[client] == comm.rank
        for key, array in alone.store[client].items():
            assert np.array_equal(array, together.store[client][key]), key
