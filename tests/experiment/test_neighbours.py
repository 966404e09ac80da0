"""Nodes hear of each other: the first node that still moves names each node that does not."""

import os
import threading

import numpy as np
import pytest

from fedmpi.comm.base import Serial
from fedmpi.experiment import neighbours
from fedmpi.experiment.neighbours import Neighbours


class Nodes:
    """Three nodes in one process, with 2, 1 and 1 ranks, each rank a thread when they meet."""

    def __init__(self):
        self.places = [(0, 0), (0, 1), (1, 0), (2, 0)]  # node and rank on it, by rank
        self.signs = {}
        self.meet, self.box = threading.Barrier(4), [None] * 4
        self.on_node = [threading.Barrier(2), threading.Barrier(1), threading.Barrier(1)]

    def all(self, rank, value):
        """Return the values of all ranks."""
        self.box[rank] = value
        self.meet.wait()
        values = list(self.box)
        self.meet.wait()
        return values


class OnNode(Serial):
    """One rank of Nodes."""

    size = 4

    def __init__(self, nodes, rank):
        self.nodes, self.rank = nodes, rank
        self.node, self.node_rank = nodes.places[rank]
        self.node_size = 2 if self.node == 0 else 1

    def sum_array(self, array):
        return np.sum(self.nodes.all(self.rank, array), axis=0)

    def gather_rows(self, rows):
        return np.concatenate(self.nodes.all(self.rank, rows))

    def share(self, value):
        return self.nodes.all(self.rank, value)[0]

    def node_zeros(self, shape, dtype):
        fresh = np.zeros(shape, dtype)
        return self.nodes.signs.setdefault(self.node, fresh)

    def node_barrier(self):
        self.nodes.on_node[self.node].wait()


@pytest.fixture
def nodes(monkeypatch):
    """Return the Neighbours of four ranks on three nodes, which talk by the loopback."""
    monkeypatch.setattr(neighbours, "addresses", lambda: ["127.0.0.1", ""])
    world, made = Nodes(), [None] * 4

    def join(rank):
        made[rank] = Neighbours(OnNode(world, rank), 60.0, 1.0)

    threads = [threading.Thread(target=join, args=(rank,)) for rank in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    yield made
    for each in made:
        each.__exit__()


def look_around(nodes, start, seconds, stopped=()):
    """Let the ranks that are not stopped look around once a second; return their messages."""
    said = [[] for _ in nodes]
    for now in range(start, start + seconds):
        for rank, each in enumerate(nodes):
            if rank not in stopped:
                said[rank] += each.look(float(now))
    return said


def test_nodes_that_hear_of_each_other_say_nothing(nodes):
    assert look_around(nodes, 0, 300) == [[], [], [], []]


def test_a_node_counts_as_well_while_one_of_its_ranks_is(nodes):
    assert not any(look_around(nodes, 0, 300, stopped={1}))


def test_every_node_that_stands_still_is_named_by_the_first_that_does_not(nodes):
    look_around(nodes, 0, 20)
    said = look_around(nodes, 20, 300, stopped={0, 1, 3})
    assert not said[0] and not said[3]
    first, second = said[2]
    assert "has moved for 60 s (rank 0, 1)" in first and "(rank 3)" in second
    assert os.uname().nodename in first
    look_around(nodes, 320, 20)
    said = look_around(nodes, 340, 100, stopped={2})
    assert said[3] == [] and said[0] == said[1] and "(rank 2)" in said[0][0]


def test_of_a_network_that_carries_nothing_nothing_is_said(nodes):
    for each in nodes:
        each._nodes[2]["port"] = 9
    assert not any(look_around(nodes, 0, 300, stopped={3}))


def test_a_rank_without_a_socket_is_silent_and_well(monkeypatch):
    class Other(OnNode):
        """The first of two ranks, each on a node of its own; the other has a socket."""

        size = 2

        def __init__(self):
            self.rank = self.node_rank = 0
            self.node_size = 1

        def sum_array(self, array):
            return array + 1

        def gather_rows(self, rows):
            assert not rows["port"].any() and not rows["addresses"].any()
            other = rows.copy()
            other["rank"] = other["first"] = 1
            return np.concatenate([rows, other])

        def share(self, value):
            return value

        def node_zeros(self, shape, dtype):
            return np.zeros(shape, dtype)

        def node_barrier(self):
            pass

    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(neighbours.socket, "socket", refused)
    with Neighbours(Other(), 60.0, 1.0) as lonely:
        assert not any(lonely.look(float(now)) for now in range(300))


@pytest.mark.parametrize("name", ["n" * 64, "node..rack", ".cluster"])
def test_a_name_that_no_name_server_could_have_is_no_fault(monkeypatch, name):
    monkeypatch.setattr(neighbours.socket, "gethostname", lambda: name)
    found = neighbours.addresses()
    assert len(found) == neighbours.ADDRESSES and found[0].count(".") == 3


def test_strange_messages_are_dropped(nodes):
    look_around(nodes, 0, 1, stopped={1, 2, 3})
    port = nodes[0]._socket.getsockname()[1]
    mark, before = nodes[0]._mark, nodes[0]._heard.copy()
    pack = neighbours.MESSAGE.pack
    with nodes[1]._socket.dup() as other:
        for data in (b"", b"x" * 2000, pack(bytes(16), 1), pack(mark, 3), pack(mark, 1) + b"x"):
            other.sendto(data, ("127.0.0.1", port))
        nodes[0]._receive(nodes[0]._socket)
        assert (nodes[0]._heard == before).all()
        other.sendto(pack(mark, 1), ("127.0.0.1", port))
        nodes[0]._receive(nodes[0]._socket)
    assert nodes[0]._heard[0, 1] == before[0, 1] + 1
