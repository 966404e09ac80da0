"""Virtual time: what a round would take on the clients' devices and links.

Nothing here is measured, so virtual time is the same for any number of ranks and on any
machine. A schedule turns the clients' seconds into the end of the round.
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
        """float64[n]: from the start of the round until the server has the report."""
        return self.down + self.compute + self.up


def spans(devices: Devices, clients: Any, bytes_down: Any, bytes_up: Any, flops: Any) -> Spans:
    """Return the Spans of `clients` int64[n], from bytes int64[n] and FLOPs float64[n].

    Single numbers in the place of arrays give those of one client, the same bits.
    """
    bits_down, bits_up = 8.0 * bytes_down, 8.0 * bytes_up
    latency = devices.latency_s[clients]
    return Spans(
        down=latency + bits_down / (1e6 * devices.down_mbit_s[clients]),
        compute=flops / (1e9 * devices.gflop_s[clients]),
        up=latency + bits_up / (1e6 * devices.up_mbit_s[clients]),
    )
