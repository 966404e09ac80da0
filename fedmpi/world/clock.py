"""Virtual time: the time that a round would take on the clients' devices and links.

Nothing here is measured, so virtual time is the same for any number of ranks and on any
machine. A schedule computes the end of the round from the clients' seconds.
"""

from dataclasses import dataclass
from typing import Any

from fedmpi.arrays import Reals
from fedmpi.world.devices import Devices


@dataclass(frozen=True, eq=False)
class Spans:
    """Virtual seconds of clients in a round, float64[n] each."""

    down: Reals
    compute: Reals
    up: Reals

    @property
    def total(self) -> Reals:
        """float64[n]: seconds from the client's start until the server has its report."""
        return self.down + self.compute + self.up


def spans(devices: Devices, clients: Any, bytes_down: Any, bytes_up: Any, flops: Any) -> Spans:
    """Return the Spans of `clients` int64[n], from bytes int64[n] and FLOPs float64[n].

    Single numbers in place of arrays give the Spans of one client, with the same bits.
    """
    bits_down, bits_up = 8.0 * bytes_down, 8.0 * bytes_up
    latency = devices.latency_s[clients]
    return Spans(
        down=latency + bits_down / (1e6 * devices.down_mbit_s[clients]),
        compute=flops / (1e9 * devices.gflop_s[clients]),
        up=latency + bits_up / (1e6 * devices.up_mbit_s[clients]),
    )
