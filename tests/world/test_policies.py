"""Policies beside a search through all values, and memory by hand."""

import numpy as np
import pytest

from fedmpi.config import read
from fedmpi.errors import ConfigError
from fedmpi.layout import Layer, Layout, Tensor
from fedmpi.world.clock import spans
from fedmpi.world.conditions import Conditions
from fedmpi.world.devices import devices_of
from fedmpi.world.memory import check_memory, needed_mb
from fedmpi.world.policies import POLICIES, RoundCost, fit_deadline, fit_memory, largest
from fedmpi.world.schedule import Schedule

VALUES = tuple(np.arange(1, 11) / 10)


def cost_of(value):
    return RoundCost(int(1e6 * value), int(5e5 * value), 4e9 * value**2, 300 * value)


@pytest.fixture
def devices():
    return devices_of(read("[clients]\nnumber = 60\n[devices]\nprofile = 'phones'", "a.toml"), 1)


def seconds(devices, client, value):
    cost = cost_of(value)
    return spans(devices, client, cost.bytes_down, cost.bytes_up, cost.flops).total


@pytest.mark.parametrize("deadline", [0.5, 2.0, 4.0, 100.0])
def test_fit_deadline_is_the_largest_value_in_time(devices, deadline):
    left = np.linspace(0.1, 6, 60)
    conditions, found = Conditions(devices, Schedule(deadline), 0.0, left), set()
    for client in range(60):
        limit = min(deadline, left[client])
        fits = [v for v in VALUES if seconds(devices, client, v) <= limit]
        value = fit_deadline(VALUES, conditions, client, cost_of)
        assert value == (fits[-1] if fits else VALUES[0])
        found.add(value)
    assert len(found) > 1


def test_fit_memory_and_speed(devices):
    conditions = Conditions(devices, Schedule(), 0.0)
    for client in range(60):
        fits = [v for v in VALUES if 300 * v <= devices.memory_mb[client]]
        assert fit_memory(VALUES, conditions, client, cost_of) == fits[-1]
        slow = [v for v in VALUES if v <= devices.gflop_s[client] / devices.gflop_s.max()]
        assert POLICIES["speed"](VALUES, conditions, client, cost_of) == slow[-1]
        assert POLICIES["fixed"](VALUES, conditions, client, cost_of) == 1.0
    with pytest.raises(ConfigError, match="training takes 1e\\+05 MB of memory at least"):
        fit_memory((1.0,), conditions, 3, lambda value: RoundCost(0, 0, 0, 1e5))


def test_the_largest_is_found_by_halving():
    for fitting in range(8):
        found = largest(range(7), lambda value, n=fitting: value < n)
        assert found == (fitting - 1 if fitting else None)


def test_memory_by_hand(devices):
    # A convolution of 2 rows with 9 weights on 10 x 10 outputs, and a linear layer of 3 rows.
    tensors = (Tensor("w", (2, 1, 3, 3), 0, 0, 2, True), Tensor("v", (3, 200), 1, 18, 3, True))
    layout = Layout(tensors, (Layer("c", "conv", 2, 1800), Layer("l", "linear", 3, 600)))
    assert needed_mb(layout, 5, 1) == 4 * (3 * 618 + 2 * 5 * (200 + 3)) / 1e6
    assert devices.has_limits
    client = int(devices.memory_mb.argmin())
    check_memory(devices, client, devices.memory_mb[client])
    with pytest.raises(ConfigError, match=rf"client {client} \(\w+\): training takes 3000 MB"):
        check_memory(devices, client, 3000.0)


def test_by_speed_counts_are_shares_of_the_largest(devices):
    """The fastest takes all steps; every client took one."""
    conditions, steps = Conditions(devices, Schedule(), 0.0), range(1, 9)
    for client in range(60):
        wanted = max(int(devices.speed[client] * 8), 1)
        assert POLICIES["speed"](steps, conditions, client, cost_of) == wanted
