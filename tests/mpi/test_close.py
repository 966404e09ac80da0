"""Communicators and windows are freed: MPI libraries have only about two thousand."""

from collections import Counter

import numpy as np
import pytest
from mpi4py import MPI

from fedmpi.comm.mpi import Mpi
from fedmpi.comm.reduce import CHOICES, Reducer

SIZE = 64


@pytest.fixture
def lent(monkeypatch):
    """Count the communicators and windows that are open: a Counter, and a type for the first."""
    open_now = Counter()

    def noted(one, kind):
        if one != MPI.COMM_NULL:
            open_now[kind] += 1
            open_now[f"{kind} ever"] += 1
        return Comm(one) if kind == "communicators" else Win(one)

    class Comm(MPI.Intracomm):
        def Dup(self, *args):
            return noted(super().Dup(*args), "communicators")

        def Split(self, *args):
            return noted(super().Split(*args), "communicators")

        def Split_type(self, *args):
            return noted(super().Split_type(*args), "communicators")

        def Free(self):
            open_now["communicators"] -= 1
            super().Free()

    class Win(MPI.Win):
        @classmethod
        def Allocate_shared(cls, *args, **more):
            return noted(super().Allocate_shared(*args, **more), "windows")

        def Free(self):
            open_now["windows"] -= 1
            super().Free()

    monkeypatch.setattr(MPI, "Win", Win)
    return open_now, Comm


@pytest.mark.parametrize("algorithm", CHOICES)
def test_a_reducer_gives_everything_back(comm, lent, algorithm):
    open_now, counted = lent
    for kind in ("vector", "rows"):
        reducer = Reducer(counted(comm.raw), algorithm)
        starts = np.arange(0, SIZE + 1, 1 if kind == "vector" else 8)
        marks = np.ones(starts.size - 1, np.uint8)
        total = np.ones(SIZE, np.int64)
        result = reducer.sum(total, total[:0], marks, starts)
        reducer.sum(total[:8].copy(), total[:0], np.ones(8, np.uint8))  # makes another slot
        assert result.record.density > 0
        assert open_now["communicators"] >= 2
        reducer.close()
        reducer.close()  # a second time does nothing
        assert open_now["communicators"] == open_now["windows"] == 0
    if comm.size > 1 and algorithm == "auto":
        assert open_now["windows ever"] >= 3


def test_a_run_gives_everything_back(comm, lent):
    open_now, counted = lent
    for turn in range(3):
        own = Mpi(counted(comm.raw))
        shared = own.share_on_node({"one": np.arange(5)} if own.node_rank == 0 else None, "a test")
        assert shared["one"][turn] == turn
        own.node_zeros((own.node_size, 2), np.int64)
        windows = 2 if own.node_size > 1 else 0
        assert open_now["windows"] == windows and open_now["communicators"] == 2
        own.sum_by("halving")
        own.close()
        own.close()
        assert open_now["communicators"] == open_now["windows"] == 0
