"""Placement: each client is placed once, loads are even, faster ranks get more."""

from collections import Counter

import numpy as np
import pytest

from fedmpi.round.assignment import assign, at_home


def test_longest_first_evens_out_the_load():
    costs = np.array([7.0, 5, 4, 3, 3, 2])
    ranks = assign(costs, np.ones(3))
    assert ranks.tolist() == [0, 1, 2, 2, 1, 0]  # 7 | 5 | 4, then 3 to 4, 3 to 5, 2 to 7


def test_a_rank_of_half_the_pace_gets_half_the_work():
    ranks = assign(np.ones(90), np.array([1.0, 2.0]))
    assert np.bincount(ranks).tolist() == [60, 30]


def test_more_ranks_than_clients_leave_some_idle():
    assert len(set(assign(np.ones(2), np.ones(5)))) == 2


def test_the_answer_is_the_same_everywhere():
    costs = np.random.default_rng(0).random(1000)
    first = assign(costs, np.ones(7))
    np.testing.assert_array_equal(assign(costs.copy(), np.ones(7)), first)
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
    ranks = assign(costs, np.ones(5))
    stayed = at_home(ranks, costs, homes)
    for cost in (1, 2, 3):
        alike = costs == cost
        np.testing.assert_array_equal(np.bincount(stayed[alike]), np.bincount(ranks[alike]))
    assert (stayed == homes).sum() > (ranks == homes).sum()


def one_after_the_other(ranks, costs, homes):
    """Twin of at_home: of clients with equal costs, the first stay if there is a place."""
    ranks = ranks.copy()
    for cost in np.unique(costs):
        alike, moving = np.flatnonzero(costs == cost), []
        free = Counter(ranks[alike].tolist())
        for client in alike:
            if free[homes[client]] > 0:
                free[homes[client]] -= 1
                ranks[client] = homes[client]
            else:
                moving.append(client)
        ranks[moving] = sorted(free.elements())
    return ranks


@pytest.mark.parametrize("costs", [1, 3, 1000])
@pytest.mark.parametrize("size", [1, 2, 5, 40])
def test_at_home_equals_its_twin(rng, costs, size):
    for clients in (0, 1, 7, 200):
        cost = rng.integers(1, costs + 1, clients) / 3
        homes = rng.integers(-1, size + 1, clients)  # one rank more than now
        ranks = assign(cost, np.ones(size))
        found = at_home(ranks, cost, homes)
        assert found.tolist() == one_after_the_other(ranks, cost, homes).tolist()
        assert found.dtype == np.int64
