"""Placement: everybody placed once, load even, faster ranks get more."""

import numpy as np

from fedmpi.round.place import at_home, place


def test_longest_first_evens_out_the_load():
    costs = np.array([7.0, 5, 4, 3, 3, 2])
    ranks = place(costs, np.ones(3))
    assert ranks.tolist() == [0, 1, 2, 2, 1, 0]  # 7 | 5 | 4, then 3 to 4, 3 to 5, 2 to 7


def test_a_rank_of_half_the_pace_gets_half_the_work():
    ranks = place(np.ones(90), np.array([1.0, 2.0]))
    assert np.bincount(ranks).tolist() == [60, 30]


def test_more_ranks_than_clients_leave_some_idle():
    assert len(set(place(np.ones(2), np.ones(5)))) == 2


def test_the_answer_is_the_same_everywhere():
    costs = np.random.default_rng(0).random(1000)
    first = place(costs, np.ones(7))
    np.testing.assert_array_equal(place(costs.copy(), np.ones(7)), first)
    load = np.bincount(first, costs)
    assert load.max() / load.mean() < 1.01


def test_clients_of_equal_cost_stay_at_home_where_there_is_room():
    costs, ranks = np.array([2.0, 1, 1, 1, 2, 1]), np.array([0, 0, 1, 1, 1, 0])
    homes = np.array([1, 1, 1, 1, 1, -1])
    # One place of cost 2 at rank 1: the first takes it. Two of cost 1: the first two do.
    assert at_home(ranks, costs, homes).tolist() == [1, 1, 1, 0, 0, 0]
    assert at_home(ranks, costs, np.full(6, -1)).tolist() == [0, 0, 0, 1, 1, 1]


def test_staying_at_home_leaves_every_load_as_it_was(rng):
    costs, homes = rng.integers(1, 4, 60).astype(float), rng.integers(-1, 4, 60)
    ranks = place(costs, np.ones(5))
    stayed = at_home(ranks, costs, homes)
    for cost in (1, 2, 3):
        alike = costs == cost
        np.testing.assert_array_equal(np.bincount(stayed[alike]), np.bincount(ranks[alike]))
    assert (stayed == homes).sum() > (ranks == homes).sum()
