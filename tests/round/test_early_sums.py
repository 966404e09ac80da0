"""Whether sums begin early depends on the times of rounds and on the possible gain."""

from types import SimpleNamespace

import numpy as np
import pytest

from fedmpi.errors import ConfigError
from fedmpi.experiment.resolve import of_tree
from fedmpi.record.schema import PHASES
from fedmpi.round.early_sums import TURNS, EarlySums


def ahead(choice="auto", overlaps=True, exact=True, cohort=8, size=2):
    comm = SimpleNamespace(overlaps=overlaps, size=size)
    return EarlySums(choice, comm, SimpleNamespace(setting=SimpleNamespace(exact=exact)), cohort)


def spend(one, train, reduce, work=1.0):
    seconds = np.zeros((len(PHASES), 2))
    seconds[PHASES.index("train")] = train, train / 2
    seconds[PHASES.index("reduce")] = reduce
    one.learn(seconds, work)
    return one.active


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.5])
def test_it_is_kept_if_rounds_are_faster_with_it(gain):
    one, kinds = ahead(), []
    for turn in range(2 * TURNS + 4):
        kinds.append(one.active)
        work = 1.0 + turn % 3  # rounds of other sizes are compared by their work
        spend(one, work * (gain if one.active else 1.0), 0.2 * work, work)
    assert kinds[0] is False and kinds.count(True) >= TURNS
    assert one.active == (gain < 1)


def test_a_shorter_sum_outweighs_a_slightly_longer_training():
    one = ahead()
    for _ in range(2 * TURNS + 4):
        spend(one, *((1.1, 0.1) if one.active else (1.0, 0.5)))
    assert one.active


def test_it_is_not_tried_where_sums_are_a_small_part():
    one = ahead()
    assert not any(spend(one, 1.0, 0.01) for _ in range(20))


@pytest.mark.parametrize("never", [
    {"overlaps": False}, {"exact": False}, {"cohort": 3}, {"choice": "off"},
])  # fmt: skip
def test_it_stays_off_where_it_cannot_be(never):
    one = ahead(**({"choice": "on"} | never))
    assert not any(spend(one, 1.0, 1.0) for _ in range(20))


def test_on_means_from_the_second_round():
    one = ahead("on", cohort=4, size=2)  # two clients for each rank are enough
    assert one.active is False
    assert all(spend(one, 1.0, 0.001) for _ in range(20))


def test_sums_that_have_an_order_cannot_begin_early():
    with pytest.raises(ConfigError, match=r"collective.overlap = 'on' needs run.sum = 'exact'"):
        of_tree({"run": {"sum": "fast"}, "collective": {"overlap": "on"}})
