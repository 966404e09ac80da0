"""Populations of devices: from a file, and drawn."""

import numpy as np
import pytest

from fedmpi.errors import ConfigError
from fedmpi.experiment import device_files, resolve
from fedmpi.experiment.earlier import Earlier
from fedmpi.world.devices import CUT, MOBILE, devices_of
from fedmpi.world.profile import devices_in

FILE = """name,gflop_s,up_mbit_s,down_mbit_s,latency_s,dropout
old,1,2,8,0.1,0.2
middle, 2.8 ,8,30,0.05,

new,9.2,20,80,0.02,0
"""
CONFIG = """
[clients]
number = {number}
[devices]
profile = "phones.csv"
dropout = 0.1
"""


def test_a_row_is_a_device():
    old, middle, new = devices_in(FILE, "phones.csv")
    assert (old.name, old.gflop_s, old.up_mbit_s, old.down_mbit_s) == ("old", 1, 2, 8)
    assert [d.dropout for d in (old, middle, new)] == [0.2, None, 0]
    assert (middle.gflop_s, middle.latency_s, new.availability) == (2.8, 0.05, None)
    (nameless,) = devices_in("gflop_s,up_mbit_s,down_mbit_s,latency_s\n1,1,1,0\n", "a.csv")
    assert nameless.name == "line 2"
    assert devices_in("\ufeff" + FILE.replace("\n", "\r\n"), "a.csv") == (old, middle, new)


GOOD = "gflop_s,up_mbit_s,down_mbit_s,latency_s\n"
BAD = {
    "a.csv: line 1: has no column gflop_s, up_mbit_s, down_mbit_s, latency_s": "",
    "a.csv: line 1: has no comma; separate columns by commas, and": "gflop_s\tup_mbit_s\n1\t2\n",
    "a.csv: line 1: has no column latency_s; needed: gflop_s,": "gflop_s,up_mbit_s,down_mbit_s",
    "a.csv: line 1: column 'speed' is unknown; known: gflop_s,": "speed," + GOOD,
    "a.csv: line 1: column 'gflop_s' appears twice": "gflop_s," + GOOD,
    "a.csv: has no device": GOOD,
    "a.csv: line 3: gflop_s = 'fast': must be a number": GOOD + "1,1,1,0\nfast,1,1,0\n",
    "a.csv: line 2: latency_s = '': must be a number": GOOD + "1,1,1,\n",
    "a.csv: line 2: up_mbit_s = 0.0: must be at least 1e-6": GOOD + "1,0,1,0\n",
    "a.csv: line 2: gflop_s = nan: must be ": GOOD + "nan,1,1,0\n",
    "a.csv: line 2: gflop_s = inf: must be ": GOOD + "1e999,1,1,0\n",
    "a.csv: line 2: has 3 cells, but line 1 names 4 columns": GOOD + "1,1,1\n",
    "a.csv: line 2: has 5 cells, but line 1 names 4 columns": GOOD + "1,1,1,0,1\n",
    "a.csv: line 2: not CSV: ": GOOD + '1,"1,1,0\n',
    "a.csv: line 2: dropout = 1.0: must be below 1": "dropout," + GOOD + "1,1,1,1,0\n",
}


@pytest.mark.parametrize("message", BAD)
def test_a_fault_is_named_with_its_line_and_column(message):
    with pytest.raises(ConfigError) as caught:
        devices_in(BAD[message], "a.csv")
    assert message in str(caught.value)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "phones.csv").write_text(FILE)
    return tmp_path / "exp.toml"


@pytest.mark.parametrize("number", [2, 3, 8])
def test_rows_are_dealt_in_a_drawn_order_and_again(place, number):
    config = resolve.resolve(CONFIG.format(number=number), str(place)).config
    found = [devices_of(config, seed) for seed in range(20)]
    for devices in found:
        counts = np.bincount(devices.tier, minlength=3)
        assert counts.sum() == number and counts.max() - counts.min() <= 1
        rates = np.array([1, 2.8, 9.2])[devices.tier]
        assert devices.gflop_s.tolist() == rates.tolist()
        assert devices.dropout.tolist() == np.array([0.2, 0.1, 0])[devices.tier].tolist()
    assert len({tuple(devices.tier) for devices in found}) > 3
    np.testing.assert_array_equal(devices_of(config, 0).tier, found[0].tier)


def test_a_run_that_goes_on_does_not_need_the_file(place):
    first = resolve.resolve(CONFIG.format(number=5), str(place))
    (place.parent / "phones.csv").unlink()
    again = Earlier(first.text, first.values()).resolved("out.h5")
    assert again.config.devices == first.config.devices
    with pytest.raises(ConfigError, match=r"exp.toml: devices.profile: phones.csv: No such file"):
        resolve.resolve(CONFIG.format(number=5), str(place))


def test_a_file_lies_beside_the_configuration_or_where_one_is(place, monkeypatch):
    text = CONFIG.format(number=5)
    monkeypatch.chdir(place.parent)
    here = resolve.resolve(text, "elsewhere/exp.toml").config
    assert here.devices == resolve.resolve(text, str(place)).config.devices
    assert device_files.by_key(text, str(place)) == {"profile": FILE}
    given = resolve.resolve(text, "/nowhere/exp.toml", devices={"profile": FILE}).config
    assert given.devices == here.devices
    assert device_files.by_key("", str(place)) == {}


def test_the_phones_have_the_medians_and_spreads_of_the_population():
    text = "[clients]\nnumber = 100000\n[devices]\nprofile = 'mobile'\navailability = 0.2"
    devices = devices_of(resolve.resolve(text, "a.toml").config, seed=1)
    for name, (median, sigma) in MOBILE.items():
        found = np.log(getattr(devices, name))
        # Quantiles at 0.16 and 0.84 are one sigma away, untouched by the cut.
        low, middle, high = np.quantile(found, [0.158655, 0.5, 0.841345])
        assert middle == pytest.approx(np.log(median), abs=0.02 * sigma)
        assert (high - low) / 2 == pytest.approx(sigma, rel=0.02)
        assert abs(found - np.log(median)).max() == pytest.approx(CUT * sigma)
    up, down = np.log(devices.up_mbit_s), np.log(devices.down_mbit_s)
    assert np.corrcoef(up, down)[0, 1] == pytest.approx(1)
    assert abs(np.corrcoef(up, np.log(devices.gflop_s))[0, 1]) < 0.02
    assert set(devices.availability) == {0.2} and set(devices.columns()["tier"]) == {"mobile"}
    # What the sources say of the tails: 60 % below 50 Mbit/s, 5 % below 20 ms.
    assert (devices.down_mbit_s < 50).mean() == pytest.approx(0.6, abs=0.01)
    assert (devices.latency_s < 0.02).mean() == pytest.approx(0.05, abs=0.01)
