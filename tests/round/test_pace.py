"""The pace of ranks: the first measurement counts whole, later ones by half."""

import time

import numpy as np

from fedmpi.record.schema import PHASES
from fedmpi.round import phases
from fedmpi.round.pace import Pace
from tests.round.test_loop import simulation


def test_the_first_measured_round_replaces_the_guess_and_later_ones_are_averaged():
    pace = Pace(3)
    assert pace.seconds.tolist() == [1, 1, 1]
    pace.learn(np.zeros(3), np.zeros(3))  # a round without clients says nothing
    assert pace.seconds.tolist() == [1, 1, 1]
    pace.learn(np.array([8.0, 2.0, 0.5]), np.array([4.0, 2.0, 0.0]))
    assert pace.seconds.tolist() == [2, 1, 1.5]  # the third has not worked: the mean of both
    pace.learn(np.array([4.0, 0.0, 9.0]), np.array([1.0, 0.0, 2.0]))
    assert pace.seconds.tolist() == [3, 1, 4.5]  # (2 + 4) / 2, as before, its first whole


def test_the_seconds_of_a_phase_count_when_its_block_raises():
    spent = phases.Phases()
    try:
        with spent("train"):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert spent.seconds["train"] > 0


def test_the_seconds_of_a_phase_add_up(monkeypatch):
    clock = iter([10.0, 11.5, 20.0, 20.25, 30.0, 34.0])
    monkeypatch.setattr(phases, "perf_counter", lambda: next(clock))
    spent = phases.Phases(2.5)  # for the record of the round before
    for name in ("train", "train", "record"):
        with spent(name):
            pass
    assert spent.seconds == dict.fromkeys(PHASES, 0.0) | {"train": 1.75, "record": 6.5}


def test_the_time_of_moving_memories_is_no_part_of_a_ranks_pace(monkeypatch):
    """A rank that waits for memories on a slow network is not slow at training."""
    run, offset, learnt = simulation(), [0.0], []
    move, learn = run._placement.move, run._placement.learn
    monkeypatch.setattr(phases, "perf_counter", lambda: time.perf_counter() + offset[0])

    def slowly(cohort, ranks):
        offset[0] += 1e6
        return move(cohort, ranks)

    monkeypatch.setattr(run._placement, "move", slowly)
    monkeypatch.setattr(run._placement, "learn", lambda *of: (learnt.append(of), learn(*of)))
    row = run.round()
    seconds = dict(zip(PHASES, row.phases[:, 0], strict=True))
    assert seconds["move"] >= 1e6 and 0 < seconds["train"] < 1e6
    assert learnt[0][2].tolist() == [seconds["train"]]
