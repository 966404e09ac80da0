"""Deadlines, by hand: late clients, the bytes that arrived, and the end of a round."""

import numpy as np
import pytest

from fedmpi.config import read
from fedmpi.world.clock import Spans, spans
from fedmpi.world.devices import devices_of
from fedmpi.world.schedule import Schedule

# Three clients with a latency of 1 s, 8 Mbit/s down, 1 GFLOP/s; 1, 2 and 4 Mbit/s up.
THREE = """
[clients]
number = 3
[devices]
profile = "tiers"
tiers = [
    {name = "a", share = 1, gflop_s = 1.0, up_mbit_s = 1.0, down_mbit_s = 8.0, latency_s = 1.0},
    {name = "b", share = 1, gflop_s = 1.0, up_mbit_s = 2.0, down_mbit_s = 8.0, latency_s = 1.0},
    {name = "c", share = 1, gflop_s = 1.0, up_mbit_s = 4.0, down_mbit_s = 8.0, latency_s = 1.0},
]
"""
NOBODY = np.zeros(3, bool)
SENT = np.full(3, 10**6)


@pytest.fixture
def devices():
    return devices_of(read(THREE, "three.toml"), seed=0)


@pytest.fixture
def clients(devices):
    """The numbers of the clients on devices a, b and c."""
    return np.argsort(devices.tier)


@pytest.fixture
def span(devices, clients):
    """1 MB down takes 1 + 1 s, 3 GFLOPs 3 s; 1 MB up 1 + 8, 1 + 4 and 1 + 2 s."""
    return spans(devices, clients, SENT, SENT, np.full(3, 3e9))


def test_seconds_by_hand(span):
    assert span.total.tolist() == [2 + 3 + 9, 2 + 3 + 5, 2 + 3 + 3]


@pytest.mark.parametrize(
    ("deadline", "late", "through", "up", "end"),
    [
        (14.0, [0, 0, 0], [1e6, 1e6, 1e6], [9, 5, 3], 14),  # just in time
        (13.0, [1, 0, 0], [875_000, 1e6, 1e6], [8, 5, 3], 13),  # 7 of 8 s of sending
        (9.0, [1, 1, 0], [375_000, 750_000, 1e6], [4, 4, 3], 9),
        (5.5, [1, 1, 1], [0, 0, 0], [0.5, 0.5, 0.5], 5.5),  # still on the way
    ],
)
def test_at_a_deadline(devices, clients, span, deadline, late, through, up, end):
    schedule = Schedule(deadline)
    found = schedule.late(span)
    assert found.tolist() == [bool(flag) for flag in late]
    sent = np.where(found, schedule.through(span, devices, clients, SENT), SENT)
    assert sent.tolist() == through
    seen = schedule.cut_off(span, found, NOBODY)
    assert seen.down.tolist() == [2] * 3 and seen.compute.tolist() == [3] * 3
    assert seen.up.tolist() == up
    assert schedule.end(100.0, seen, found) == 100 + end


def test_a_deadline_in_the_middle_of_training_and_of_the_download(devices, clients, span):
    for deadline, down, compute in ((4.0, 2, 2), (1.5, 1.5, 0)):
        schedule = Schedule(deadline)
        seen = schedule.cut_off(span, ~NOBODY, NOBODY)
        assert seen.down.tolist() == [down] * 3 and seen.compute.tolist() == [compute] * 3
        assert seen.up.tolist() == [0] * 3
        assert schedule.through(span, devices, clients, SENT).tolist() == [0] * 3


def test_the_lost_have_received_and_no_more(span):
    lost = np.array([True, False, False])
    seen = Schedule().cut_off(span, NOBODY, lost)
    assert seen.total.tolist() == [2, 10, 8]
    assert Schedule().end(0.0, seen, lost) == 10  # the server notices at once
    assert Schedule(20.0).end(0.0, seen, lost) == 20  # here it waits until the deadline


def test_the_slowest_ends_a_round_that_all_complete(span):
    assert Schedule(20.0).end(1.0, span, NOBODY) == Schedule().end(1.0, span, NOBODY) == 15


def test_a_round_of_nobody_takes_no_time():
    nothing = Spans(*[np.zeros(0)] * 3)
    for schedule in (Schedule(), Schedule(3.0)):
        assert schedule.end(3.5, nothing, np.zeros(0, bool)) == 3.5
