"""Placement of the clients of a round: predicted work, memories, and what the pace learns."""

from types import SimpleNamespace

import numpy as np
import pytest

from fedmpi.comm.base import Serial
from fedmpi.errors import FedmpiError
from fedmpi.round.memories import ClientStore, pack
from fedmpi.round.placement import Placement

LOADS = {2: 2.0, 3: 0.5, 5: 1.0, 8: 0.25}
CLIENTS = np.array(list(LOADS))
HOMES = np.array([1, 0, -1, 1])  # of client 5 no rank has a memory


class Rank(Serial):
    """One of two ranks; it adds `others` to what it sums, and sends its boxes to nobody."""

    size = 2

    def __init__(self, rank=0, others=0.0):
        self.rank, self.others, self.asked, self.boxes = rank, others, None, []

    def sum_array(self, array):
        self.asked = array.copy()
        return array + self.others

    def exchange(self, boxes):
        self.boxes.append([bytes(box) for box in boxes])
        return [b"", b""]


def placed(comm, remembers=True, stages=(), load=LOADS.__getitem__, samples=100.0):
    """Return a Placement of clients with memories at HOMES, and a cohort of which 3 is lost."""
    store = ClientStore(np.zeros(9, np.int32))
    store.set_homes(CLIENTS[HOMES >= 0], HOMES[HOMES >= 0])
    method = SimpleNamespace(remembers=remembers, load=lambda round, client: load(client))
    experiment = SimpleNamespace(algorithm=method, stages=stages, memories=store,
                                 work=lambda clients: np.full(len(clients), samples))
    return Placement(experiment, comm), SimpleNamespace(clients=CLIENTS, silent=CLIENTS == 3)


def test_the_rank_with_a_memory_tells_the_load_and_the_first_rank_that_of_new_clients():
    other = Rank(1)
    placement, cohort = placed(other)
    placement.of(cohort, 0)
    assert other.asked.tolist() == [2.0, 0.0, 0.0, 0.25]
    first = Rank(0, others=other.asked)
    placement, cohort = placed(first)
    _, work = placement.of(cohort, 0)
    assert first.asked.tolist() == [0.0, 0.5, 1.0, 0.0]
    assert work.tolist() == [200, 0, 100, 25]  # samples times load; a lost client has no work


def test_of_clients_with_equal_work_those_with_a_memory_stay():
    placement, cohort = placed(Rank(0, others=1.0), load=lambda client: 0.0)
    ranks, work = placement.of(cohort, 0)
    assert work.tolist() == [100, 0, 100, 100]
    assert ranks.tolist() == [1, 1, 0, 0]  # rank 1 has room for one of clients 2 and 8
    without, cohort = placed(Rank(), remembers=False)
    assert without.of(cohort, 0)[0].tolist() == [0, 1, 1, 0]


def test_memories_of_stages_move_too_and_without_memories_nothing_is_asked():
    plain, stage = Rank(), Rank(others=1.0)
    placement, cohort = placed(plain, remembers=False)
    assert placement.of(cohort, 0)[1].tolist() == [100, 0, 100, 100]
    assert placement.move(cohort, HOMES * 0) == 0
    assert plain.asked is None and plain.boxes == []
    placement, cohort = placed(stage, remembers=False, stages=("a stage",))
    placement.of(cohort, 0)
    assert stage.asked is not None


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf, "much"])
def test_a_load_that_is_no_number_is_refused(wrong):
    placement, cohort = placed(Rank(), load=lambda client: wrong)
    with pytest.raises(FedmpiError, match=r"load is .*; it must be a finite number, not negative"):
        placement.of(cohort, 0)


def test_the_pace_is_that_of_the_work_that_each_rank_had():
    placement, cohort = placed(Rank(others=1.0), load=lambda client: 0.0)
    placement.learn(np.array([0, 1, 1, 1]), np.array([100.0, 0, 50, 25]), np.array([50.0, 150]))
    assert placement._pace.seconds.tolist() == [0.5, 2.0]
    ranks, work = placement.of(cohort, 1)
    assert np.bincount(ranks, work).tolist() == [200, 100]  # twice the work for the faster


def test_only_memories_that_change_their_rank_are_sent_and_counted():
    comm, store = Rank(), ClientStore(np.zeros(9, np.int32))
    store.set_homes(CLIENTS, CLIENTS * 0)
    for client in CLIENTS.tolist():
        store.prepare(client, {"x": np.full(client, client)})
    store.commit()
    gone = [pack({"x": np.full(client, client)}) for client in (3, 8)]
    comm.others, goes = 0, np.array([0, 1, 0, 1])
    assert store.move(comm, CLIENTS, goes) == sum(map(len, gone))
    here, there = (b"".join(boxes) for boxes in zip(*comm.boxes, strict=True))
    assert here == b"" and len(there) == sum(map(len, gone)) + 2 * 16
    assert all(data in there for data in gone)
    assert store.clients() == [2, 5] and store.homes_of(CLIENTS).tolist() == goes.tolist()
    assert store.ranks_for(np.array([0, 3, 2, 7]), 3).tolist() == [0, 1, 0, 1]  # 7: any rank
