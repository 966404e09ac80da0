"""The profile `phones` beside its source measurements."""

import json
import lzma
from collections import Counter

import numpy as np
import pytest

from fedmpi.config import read
from fedmpi.world import phones
from fedmpi.world.devices import devices_of

FOLDERS = ("nexus6", "redmi_note8", "sumsung_note10")  # as FLASH spells them


def lstm_layers(root, folder):
    """FLOPs and measured seconds of FLASH's LSTM layers on one phone, float64[20000] each."""
    path = root / f"device-traces/flash/regression/{folder}/lstm.json.xz"
    table = json.loads(lzma.decompress(path.read_bytes()))
    x, seconds = np.array(table["X"], float), np.array(table["Y"], float).ravel()
    size_in, size_out, batch, steps = x.T * [[1000], [1000], [50], [10]]
    return 6 * 4 * batch * steps * size_out * (size_in + size_out), seconds


def test_the_rates_are_those_of_the_measured_phones(data_root):
    for folder, rate in zip(FOLDERS, phones.GFLOP_S, strict=True):
        flops, seconds = lstm_layers(data_root, folder)
        assert rate == pytest.approx(flops.sum() / seconds.sum() / 1e9, rel=5e-4)


# Of a layer's seconds, predicted by FLOPs over the rate: mean absolute error over the mean.
ERRORS = {"nexus6": 0.318, "redmi_note8": 0.426, "sumsung_note10": 0.606}


@pytest.mark.parametrize("folder", FOLDERS)
def test_how_far_predicted_seconds_are_from_measured_ones(data_root, folder):
    flops, seconds = lstm_layers(data_root, folder)
    rate = phones.GFLOP_S[FOLDERS.index(folder)]
    error = abs(flops / (1e9 * rate) - seconds).sum() / seconds.sum()
    assert error == pytest.approx(ERRORS[folder], abs=0.002)


def test_links_and_memories_are_those_of_the_files(data_root):
    folder = data_root / "device-traces/flash"
    speeds = json.loads((folder / "speed_distri.json").read_text()).values()
    for name, column in (("down_u", phones.DOWN_MBIT_S), ("up_u", phones.UP_MBIT_S)):
        np.testing.assert_allclose(column, [s[name] / 1000 for s in speeds], atol=6e-4)
    counts = Counter(
        p["RAM"] for p in json.loads((folder / "raw_ai_benchmark_list.json").read_text())
    )
    assert {float(ram[:-2]): n for ram, n in counts.items()} == dict(
        zip(phones.MEMORY_GB, phones.MEMORY_COUNTS, strict=True)
    )


def test_clients_have_the_shares_of_the_sources():
    config = read("[clients]\nnumber = 100000\n[devices]\nprofile = 'phones'", "a.toml")
    devices = devices_of(config, seed=4)
    shares = np.bincount(devices.tier, minlength=3) / 1e5
    np.testing.assert_allclose(shares, np.array(phones.COUNTS) / sum(phones.COUNTS), atol=0.006)
    assert set(devices.gflop_s) == set(phones.GFLOP_S)
    pairs = set(zip(devices.up_mbit_s, devices.down_mbit_s, strict=True))
    assert pairs == set(zip(phones.UP_MBIT_S, phones.DOWN_MBIT_S, strict=True))
    assert (devices.memory_mb == 1000).mean() == pytest.approx(96 / 333, abs=0.01)
    fixed = read("[clients]\nnumber = 9\n[devices]\nprofile = 'phones'\nmemory_mb = 7", "a.toml")
    assert set(devices_of(fixed, seed=4).memory_mb) == {7.0}
