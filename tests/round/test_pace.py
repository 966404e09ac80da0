"""The pace of ranks: the first measurement counts whole, later ones by half."""

import numpy as np

from fedmpi.round.pace import Pace
from fedmpi.round.phases import Phases


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
    phases = Phases()
    try:
        with phases("train"):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert phases.seconds["train"] > 0
