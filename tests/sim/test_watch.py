"""The watch names each rank that stands still once, by the lowest rank that is well."""

import numpy as np
import pytest

from fedmpi.comm.base import Serial
from fedmpi.sim.watch import Blind, Watch, watching


class Node(Serial):
    """One rank of a node with three, which share `signs`; the node's ranks are 4, 5 and 6."""

    size = 9

    def __init__(self, node_rank, signs):
        self.node_rank, self.rank, self.signs = node_rank, 4 + node_rank, signs

    def node_signs(self, columns):
        assert self.signs.shape == (3, columns)
        return self.signs


@pytest.fixture
def watches():
    """Return three watches on one node, each with the list of what it said."""
    signs, made = np.zeros((3, 4), np.int64), []
    for rank in range(3):
        said = []
        made.append((Watch(Node(rank, signs), 60.0, said.append), said))
    return made


def pass_seconds(watches, start, seconds, stopped=()):
    """Let the ranks that are not stopped tick and look, once a second."""
    for now in range(start, start + seconds):
        for rank, (watch, _) in enumerate(watches):
            if rank not in stopped:
                watch.tick()
                watch.look(float(now))
    return start + seconds


def test_nothing_is_said_of_ranks_that_are_well(watches):
    pass_seconds(watches, 0, 1000)
    assert not any(said for _, said in watches)


def test_a_stopped_rank_is_named_once_by_the_lowest(watches):
    watches[2][0].note(5, 17)
    now = pass_seconds(watches, 0, 10)
    now = pass_seconds(watches, now, 59, stopped={2})
    assert not watches[0][1]
    now = pass_seconds(watches, now, 200, stopped={2})
    (text,) = watches[0][1]
    assert text.startswith("rank 6 on ") and "has not moved for 60 s (round 5, client 17)" in text
    assert not watches[1][1] and not watches[2][1]
    assert watches[0][0].take_news() == [text] and watches[0][0].take_news() == []


def test_the_next_speaks_when_the_lowest_is_stopped(watches):
    now = pass_seconds(watches, 0, 10)
    pass_seconds(watches, now, 100, stopped={0, 2})
    assert [text.split(" on ")[0] for text in watches[1][1]] == ["rank 4", "rank 6"]
    assert not watches[0][1]


def test_a_rank_that_goes_on_and_stops_again_is_named_again(watches):
    now = pass_seconds(watches, 0, 100, stopped={1})
    now = pass_seconds(watches, now, 100)
    assert len(watches[0][1]) == 1
    assert not watches[1][1]  # it has nothing to say of those who waited for it
    pass_seconds(watches, now, 100, stopped={1})
    assert len(watches[0][1]) == 2


@pytest.mark.parametrize("patience", [0.0, 60.0])
def test_a_rank_that_is_alone_watches_nobody(patience):
    with watching(Serial(), patience, None) as watch:
        assert isinstance(watch, Blind)
        watch.note(3, 4)
        assert watch.take_news() == []
