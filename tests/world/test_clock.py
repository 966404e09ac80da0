"""Virtual seconds by hand."""

import numpy as np

from fedmpi.config import read
from fedmpi.world.clock import spans
from fedmpi.world.devices import devices_of
from fedmpi.world.schedule import Schedule

TWO_TIERS = """
[clients]
number = 2
[devices]
profile = "tiers"
[[devices.tiers]]
name = "a"
share = 1
gflop_s = 2.0
up_mbit_s = 1.0
down_mbit_s = 8.0
latency_s = 0.5
[[devices.tiers]]
name = "b"
share = 1
gflop_s = 1.0
up_mbit_s = 4.0
down_mbit_s = 8.0
latency_s = 0.25
"""


def test_a_client_waits_for_download_compute_and_upload():
    devices = devices_of(read(TWO_TIERS, "a.toml"), seed=0)
    clients = np.argsort(devices.tier)  # tier a first
    span = spans(devices, clients, np.full(2, 10**6), np.full(2, 500_000), np.full(2, 4e9))
    assert span.down.tolist() == [0.5 + 1.0, 0.25 + 1.0]
    assert span.compute.tolist() == [2.0, 4.0]
    assert span.up.tolist() == [0.5 + 4.0, 0.25 + 1.0]
    assert Schedule().end(10.0, span, np.zeros(2, bool)) == 10.0 + 8.0
