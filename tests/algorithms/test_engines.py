"""Every method on the batched engine, in the real loop, beside the torch engine."""

import pytest

from tests.algorithms.problem import simulate
from tests.algorithms.test_contract import KEYS, NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_method_trains_in_chunks_as_client_by_client(name):
    """Rounding differs, and so may a weight at the edge of a mask."""
    ran = [
        simulate(name, (f"run.engine={engine}",), **KEYS.get(name, {}))[1]
        for engine in ("torch", "batched")
    ]
    for torch, batched in zip(*ran, strict=True):
        one, other = torch.columns, batched.columns
        assert other["train_loss"] == pytest.approx(one["train_loss"], rel=0.02, nan_ok=True)
        assert other["bytes_up"] == pytest.approx(one["bytes_up"], rel=0.02)
        assert other["flops"] == pytest.approx(one["flops"], rel=0.05)
        assert list(batched.clients["steps"]) == list(torch.clients["steps"])
