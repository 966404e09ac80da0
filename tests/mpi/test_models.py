"""Models of any kind give the same bits on these ranks as on one."""

import pytest

from tests.algorithms.problem import simulate
from tests.learn.any_models import BUILD

HOW = (
    "run.rounds=1", "run.trainer=torch", "clients.number=4", "clients.per_round=4",
    "clients.local_steps=2",
)  # fmt: skip


@pytest.mark.parametrize("kind", BUILD)
def test_any_number_of_ranks_gives_the_same_bits(kind, comm):
    how = (*HOW, "model.name=tests.learn.any_models:named", f"model.kind={kind}")
    alone, expected = simulate("fedavg", how)
    together, rows = simulate("fedavg", how, comm=comm)
    assert alone.state["weights"].tobytes() == together.state["weights"].tobytes()
    told = ("test_accuracy", "test_loss", "train_loss", "flops", "virtual_time", "bytes_up")
    for row, other in zip(rows, expected, strict=True):
        assert [row.columns[name] for name in told] == [other.columns[name] for name in told]
    assert any(alone.state["weights"] != alone.experiment.weights)
