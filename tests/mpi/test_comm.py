"""Messages between ranks, for any number of ranks."""

import os

import numpy as np
import pytest

from fedmpi.comm import mpi
from fedmpi.comm.base import Summation
from fedmpi.errors import ConfigError, FedmpiError
from fedmpi.layout import Support
from fedmpi.totals import Total
from tests.models import TINY, WEIGHTS


@pytest.mark.parametrize("fill", ["mean", "zero", "old"])
def test_totals_add_up_to_what_one_rank_would_have(comm, rng, fill):
    clients = rng.standard_normal((4 * comm.size, TINY.size)).astype(np.float32)
    keeps = rng.integers(0, 2, (len(clients), 2)).astype(np.uint8)
    keeps[0], keeps[1] = (1, 0), (0, 1)  # no layer has the weight of all clients behind it
    supports = [Support(TINY, "layer", keep) for keep in keeps]
    mine, alone = Total(TINY, "layer", fill), Total(TINY, "layer", fill)
    for i, (values, support) in enumerate(zip(clients, supports, strict=True)):
        alone.add(values, 1 / len(clients), support)
        if i % comm.size == comm.rank:
            mine.add(values, 1 / len(clients), support)
    assert comm.sum({"weights": mine}).algorithm == ("node" if comm.size > 1 else "none")
    assert mine.weight == alone.weight
    np.testing.assert_array_equal(mine.mean(WEIGHTS), alone.mean(WEIGHTS))
    noise = rng.standard_normal(TINY.size)
    mine.shift(noise)
    alone.shift(noise)
    np.testing.assert_array_equal(mine.mean(WEIGHTS), alone.mean(WEIGHTS))


@pytest.mark.ranks(2)
def test_shares_beyond_one_are_refused_on_any_number_of_ranks(comm):
    total = Total(TINY)
    total.add(WEIGHTS, 0.6)
    shares = f"{0.6 * comm.size:g}"
    with pytest.raises(FedmpiError, match=rf"got shares of {shares} on all ranks; .* at most 1"):
        comm.sum({"weights": total})


def test_no_totals_are_a_sum_too(comm):
    assert comm.sum({}) == Summation()


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
    arrays = comm.share_on_node(given, "a test")
    assert arrays["x"].tolist() == list(range(7))
    np.testing.assert_array_equal(arrays["y"], np.eye(3))
    assert arrays["none"].shape == (0, 2)
    with pytest.raises(ValueError, match="read-only"):
        arrays["y"][0, 0] = 5


@pytest.mark.parametrize("chunk", [8, 24, 100, 1 << 30])
def test_what_is_long_travels_in_chunks(comm, monkeypatch, chunk):
    """For any length of a chunk, the answer is that of one piece."""
    monkeypatch.setattr(mpi, "CHUNK", chunk)
    array = np.arange(30.0).reshape(5, 6) * (comm.rank + 1)
    total = comm.size * (comm.size + 1) // 2
    np.testing.assert_array_equal(comm.sum_array(array), np.arange(30.0).reshape(5, 6) * total)
    rows = np.full((3 * comm.rank + 1, 2), 10 * comm.rank) + np.arange(3 * comm.rank + 1)[:, None]
    expected = [10 * r + i for r in range(comm.size) for i in range(3 * r + 1)]
    assert comm.gather_rows(rows).tolist() == [[number] * 2 for number in expected]
    with pytest.raises(ValueError, match="contiguous"):
        comm.sum_array(np.zeros((4, 4)).T[1:])


@pytest.mark.parametrize("chunk", [5, 1 << 30])
def test_ranks_of_a_node_get_copies_of_arrays(comm, monkeypatch, chunk):
    monkeypatch.setattr(mpi, "CHUNK", chunk)
    given = {"x": np.arange(7, dtype=np.uint8), "y": np.eye(3).T, "none": np.zeros((0, 2)),
             "one": np.array(2.5)}
    found = comm.copy_on_node(given if comm.node_rank == 0 else None)
    assert found.keys() == given.keys()
    for name, array in given.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        found[name][...] = comm.rank  # each rank has its own


def test_ranks_of_a_node_write_into_one_array(comm):
    zeros = comm.node_zeros((comm.node_size, 3), np.int32)
    assert not zeros.any() and zeros.dtype == np.int32
    comm.node_barrier()
    zeros[comm.node_rank] = comm.node_rank + 1
    comm.node_barrier()
    assert zeros.tolist() == [[rank + 1] * 3 for rank in range(comm.node_size)]
    comm.node_barrier()


@pytest.mark.ranks(2)
def test_too_little_shared_memory_is_said_before_it_is_used(comm, monkeypatch):
    files = os.statvfs("/dev/shm")
    small = os.statvfs_result([*files[:4], (1 << 20) // files.f_frsize, *files[5:10]])
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    message = r"data.name: needs 3 MiB .* /dev/shm, which has 1 MiB\n.*--shm-size.* fewer ranks"
    given = {"x": np.zeros(3 << 20, np.uint8)} if comm.node_rank == 0 else None
    with pytest.raises(ConfigError, match=message):
        comm.share_on_node(given, "data.name")
    with pytest.raises(ConfigError, match="a run: needs 16 MiB"):
        comm.node_zeros((2 << 20,), np.int64)
