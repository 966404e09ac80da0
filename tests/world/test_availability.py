"""Available and lost clients: their frequencies against the configured probabilities."""

import numpy as np
import pytest

from fedmpi.config import read
from fedmpi.world.availability import available, dropped
from fedmpi.world.devices import devices_of

ROUNDS = 400


def devices(text, number=50):
    return devices_of(read(f"[clients]\nnumber = {number}\n[devices]\n{text}", "a.toml"), seed=0)


def within(found, p, draws):
    """Four standard deviations of a mean of Bernoulli draws."""
    return found == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / draws))


def test_clients_are_there_as_often_as_asked():
    found = devices("availability = 0.3")
    there = np.array([available(found, 5, round) for round in range(ROUNDS)])
    assert within(there.mean(), 0.3, there.size)
    assert all(within(one, 0.3, ROUNDS) for one in there.mean(axis=0))
    together = (there[:, :-1] & there[:, 1:]).mean()  # neighbours know nothing of each other
    assert within(together, 0.09, there.size)


def test_clients_are_lost_as_often_as_asked():
    found, clients = devices("dropout = 0.2"), np.arange(0, 50, 5)
    lost = np.array([dropped(found, clients, 5, round) for round in range(ROUNDS)])
    assert within(lost.mean(), 0.2, lost.size)
    assert all(within(one, 0.2, ROUNDS) for one in lost.mean(axis=0))


def test_whether_a_client_is_lost_does_not_depend_on_who_else_was_selected():
    found = devices("dropout = 0.5")
    everyone = dropped(found, np.arange(50), 5, 7)
    np.testing.assert_array_equal(dropped(found, np.array([3, 41]), 5, 7), everyone[[3, 41]])
    assert 0 < everyone.sum() < 50
    assert (dropped(found, np.arange(50), 6, 7) != everyone).any()


def test_nobody_is_away_or_lost_unless_asked_for():
    found = devices("")
    assert available(found, 1, 2) is None and not dropped(found, np.arange(50), 1, 2).any()


def test_a_tier_may_have_its_own():
    tier = "share = 1, gflop_s = 1, up_mbit_s = 1, down_mbit_s = 1"
    text = f"""profile = "tiers"
    availability = 0.5
    tiers = [{{name = "a", {tier}, dropout = 0.25}}, {{name = "b", {tier}, availability = 1}}]"""
    found = devices(text, number=4)
    kind = [found.names[tier] for tier in found.tier]
    assert [{"a": 0.5, "b": 1.0}[name] for name in kind] == found.availability.tolist()
    assert [{"a": 0.25, "b": 0.0}[name] for name in kind] == found.dropout.tolist()
    assert {"availability", "dropout"} < found.columns().keys()
    assert "dropout" not in devices("").columns()
