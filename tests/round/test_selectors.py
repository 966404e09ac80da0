"""Selection: a function of the seed and the round alone, with shares that add up to 1."""

import numpy as np
import pytest

import fedmpi
from fedmpi.errors import ConfigError
from fedmpi.experiment.resolve import of_tree
from fedmpi.round.cohort import shares_of
from fedmpi.section import Section
from fedmpi.selectors import SELECTORS, World
from fedmpi.selectors.drawing import largest

SIZES = np.array([5, 0, 10, 20, 15, 0, 50])


def selected(name="uniform", seed=0, round=0, sizes=SIZES, number=3, selector=None):
    selector = selector or made(name, seed, len(sizes))
    world = World(np.asarray(sizes), 0.0, lambda: 1.0 + np.arange(len(sizes)))
    chosen = selector.select(round, world, number, in_turn=False)
    selector.begun(chosen)
    return chosen


def made(name, seed, clients):
    return SELECTORS[name](SELECTORS[name].Keys(), seed, clients)


@pytest.mark.parametrize("number", [0, 1, 7, 40, 41])
def test_the_largest_are_those_of_a_whole_sort(number):
    rng = np.random.default_rng(3)
    for values in (rng.random(40), rng.integers(0, 4, 40) * 1.0, np.full(40, np.inf)):
        values[rng.random(40) < 0.2] = np.nan
        whole = np.argsort(-values, kind="stable")[:number]
        assert np.array_equal(largest(values, number), whole)


@pytest.mark.parametrize("name", ["uniform", "samples"])
def test_a_cohort_is_a_function_of_seed_and_round(name):
    places = [(0, 0), (0, 0), (0, 1), (1, 0)] * 2
    draws = [sorted(selected(name, seed, round)) for seed, round in places]
    assert draws[0] == draws[1] == draws[4]
    assert len({tuple(sorted(selected(name, 0, round))) for round in range(50)}) > 5


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_clients_without_samples_are_never_drawn_and_all_others_are(name):
    selector = made(name, 0, len(SIZES))
    draws = [selected(round=round, number=2, selector=selector) for round in range(100)]
    assert {int(client) for draw in draws for client in draw} == {0, 2, 3, 4, 6}
    assert all(len(set(draw.tolist())) == 2 for draw in draws)


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_fewer_are_selected_only_if_fewer_are_there(name):
    assert sorted(selected(name, number=9)) == [0, 2, 3, 4, 6]
    assert selected(name, sizes=np.zeros(4, int)).size == 0


def test_shares_are_in_proportion_to_samples_or_equal():
    clients = np.sort(selected(number=5))
    assert clients.tolist() == [0, 2, 3, 4, 6]
    np.testing.assert_allclose(shares_of(SIZES[clients], "samples"), [0.05, 0.1, 0.2, 0.15, 0.5])
    assert shares_of(SIZES[clients], "uniform").tolist() == [0.2] * 5


def test_each_client_is_drawn_about_equally_often():
    everyone = [1] * 20
    draws = [selected(seed=3, round=r, sizes=everyone, number=5) for r in range(2000)]
    spread = np.bincount(np.concatenate(draws)).std()
    assert spread == pytest.approx(np.sqrt(2000 * 0.25 * 0.75), rel=0.4)


def test_by_samples_a_first_draw_is_in_proportion():
    """One client a round: its chance is its part of all samples."""
    draws = [selected("samples", round=round, number=1)[0] for round in range(4000)]
    found = np.bincount(draws, minlength=7) / 4000
    np.testing.assert_allclose(found, SIZES / 100, atol=4 * np.sqrt(0.25 / 4000))


def test_turns_go_round_and_who_is_away_misses_its_turn():
    selector = SELECTORS["round-robin"](Section(), 0, 5)
    sizes = np.ones(5, int)
    assert selected(sizes=sizes, selector=selector).tolist() == [0, 1, 2]
    assert selected(sizes=[1, 1, 1, 0, 1], selector=selector).tolist() == [4, 0, 1]
    again = SELECTORS["round-robin"](Section(), 0, 5)
    again.restore(selector.arrays())
    assert selected(sizes=sizes, selector=again).tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("clients", "words"),
    [
        ({"selection": "unifrom"}, "did you mean uniform"),
        ({"per_rond": 3}, "did you mean per_round"),
        ({"selection": "tests.models:TINY"}, "must be a subclass of fedmpi.Selector"),
    ],
)
def test_what_is_wrong_is_named(clients, words):
    with pytest.raises(ConfigError, match=words):
        of_tree({"clients": clients})


class Learner(fedmpi.Selector):
    """Selects nobody, and would forget what it has learned."""

    learns = True

    def select(self, round, world, number, in_turn):
        return []

    def learn(self, rows):
        self.rows = rows

    def restore(self, arrays):
        self.rows = arrays["rows"]


def test_a_rule_of_selection_that_learns_keeps_what_it_has_learned():
    with pytest.raises(ConfigError, match=r"Learner learns .*; also define arrays and restore"):
        of_tree({"clients": {"selection": f"{__name__}:Learner"}})
    for name in SELECTORS:
        of_tree({"clients": {"selection": name}})
