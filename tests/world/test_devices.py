"""Devices dealt to clients."""

import numpy as np
import pytest

from fedmpi.config import read
from fedmpi.world.boards import TABLES
from fedmpi.world.devices import TIERS, devices_of


def config(text=""):
    return read(f"[clients]\nnumber = 103\n{text}", "a.toml")


def test_uniform_devices_take_the_links_of_the_network_section():
    devices = devices_of(config("[network]\nup_mbit_s = 3\n[devices]\ngflop_s = 7"), seed=0)
    assert set(devices.gflop_s) == {7.0} and set(devices.up_mbit_s) == {3.0}
    assert set(devices.down_mbit_s) == {50.0} and set(devices.speed) == {1.0}


def test_tiers_are_dealt_in_proportion_to_their_shares():
    devices = devices_of(config("[devices]\nprofile = 'tiers'"), seed=0)
    counts = np.bincount(devices.tier)
    assert counts.sum() == 103
    np.testing.assert_allclose(counts / 103, [tier.share for tier in TIERS], atol=1 / 103)
    assert devices.speed.max() == 1.0
    assert devices.speed.min() == pytest.approx(1.0 / 9.2)


def test_the_seed_alone_says_who_gets_which_device():
    tiers = [devices_of(config("[devices]\nprofile = 'tiers'"), seed).tier for seed in (0, 0, 1)]
    np.testing.assert_array_equal(tiers[0], tiers[1])
    assert (tiers[0] != tiers[2]).any()


def test_boards_and_servers_have_the_peaks_that_are_published():
    published = {"raspberry-pi-4": 48, "jetson-nano": 236, "jetson-tx2": 573.4,
                 "jetson-xavier-nx": 844.8, "jetson-agx-orin": 5300, "t4": 8100, "v100": 15700,
                 "a100": 19500}  # fmt: skip
    for profile, table in TABLES.items():
        devices = devices_of(config(f"[devices]\nprofile = '{profile}'"), seed=0)
        rates = dict(zip(devices.names, 3 * np.unique(devices.gflop_s), strict=True))
        assert np.bincount(devices.tier).min() >= 103 // len(table)
        for name in rates.keys() & published:
            assert rates[name] == pytest.approx(published[name], rel=0.01)
    assert set(devices.memory_mb) == {16000.0, 40000.0} and devices.power_w.max() == 400
    own = devices_of(config("[devices]\nprofile = 'servers'\nmemory_mb = 7\npower_w = 5"), seed=0)
    assert set(own.memory_mb) == {7.0} and set(own.power_w) == {5.0}
