"""What the ranks say to each other, for any number of them."""

import numpy as np
import pytest

from fedmpi.layout import Support
from fedmpi.totals import Total
from tests.models import TINY, WEIGHTS


def test_totals_add_up_to_what_one_rank_would_have(comm, rng):
    clients = rng.standard_normal((4 * comm.size, TINY.size)).astype(np.float32)
    supports = [Support(TINY, "layer", rng.integers(0, 2, 2).astype(np.uint8)) for _ in clients]
    mine, alone = Total(TINY, "layer"), Total(TINY, "layer")
    for i, (values, support) in enumerate(zip(clients, supports, strict=True)):
        alone.add(values, 1 / len(clients), support)
        if i % comm.size == comm.rank:
            mine.add(values, 1 / len(clients), support)
    assert comm.sum({"weights": mine}).algorithm == ("node" if comm.size > 1 else "none")
    np.testing.assert_array_equal(mine.mean(WEIGHTS), alone.mean(WEIGHTS))


def test_sum_array_adds_in_place(comm):
    array = np.full(3, comm.rank + 1, np.int64)
    assert comm.sum_array(array) is array
    assert array.tolist() == [comm.size * (comm.size + 1) // 2] * 3


def test_rows_of_unequal_numbers_come_in_rank_order(comm):
    rows = np.zeros(comm.rank, [("rank", "<i4"), ("x", "<f8")])
    rows["rank"], rows["x"] = comm.rank, np.arange(comm.rank) / 2
    gathered = comm.gather_rows(rows)
    assert gathered["rank"].tolist() == [r for r in range(comm.size) for _ in range(r)]
    assert gathered["x"].tolist() == [i / 2 for r in range(comm.size) for i in range(r)]


@pytest.mark.parametrize("value", [None, {"a": [1, 2.5, "ü"]}, "x" * 100_000])
def test_the_value_of_rank_0_reaches_all(comm, value):
    assert comm.share(value if comm.rank == 0 else "other") == value


def test_a_node_has_one_read_only_copy_of_its_arrays(comm):
    given = None
    if comm.node_rank == 0:
        given = {"x": np.arange(7, dtype=np.uint8), "y": np.eye(3), "none": np.zeros((0, 2))}
    arrays = comm.share_on_node(given)
    assert arrays["x"].tolist() == list(range(7))
    np.testing.assert_array_equal(arrays["y"], np.eye(3))
    assert arrays["none"].shape == (0, 2)
    with pytest.raises(ValueError, match="read-only"):
        arrays["y"][0, 0] = 5
