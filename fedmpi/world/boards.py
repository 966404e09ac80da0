"""The profiles `boards` and `servers`: peak rates, memories and powers published by the makers.

Raspberry Pi 4: from its product brief (May 2020). Each of the four Cortex-A72 cores has a 128-bit
unit, so there are sixteen float32 lanes. The power is that of the power supply (5 V, 3 A). Jetson:
from NVIDIA's data sheets, and the power modes in its Jetson Linux developer guide: Nano in mode
MaxN, TX2 in Max-P (in Max-N it runs at 1.30 GHz without a power limit), Xavier NX at 15 W (384
lanes, at most 1.1 GHz: data sheet DA-09366-001). AGX Orin runs at its highest clock (MAXN) and can
draw 15 to 60 W. That it takes 60 W at this clock is a guess, and the clock was not checked against
a data sheet. T4, V100 (SXM2) and A100 (SXM4, 40 GB): from the data sheets, 8.1, 15.7 and 19.5
TFLOP/s.

Peak FLOPs are 2 x lanes x clock. Training is assumed to reach a third of the peak, as Linpack does
on a Raspberry Pi 4 (about 8 of 24 GFLOP/s in float64: Feiereisen, "Benchmarking the Raspberry Pi 4
with Raspberry Pi OS64", 2022). The same third on all devices, the links, and the equal shares of
all devices are guesses. Powers are upper limits; no maker publishes the power of a waiting device.
"""

from collections.abc import Mapping

from fedmpi.simulated import Tier
from fedmpi.world.phones import APP_SHARE

REACHED = 1 / 3  # fraction of the peak rate that training reaches
BOARDS = {  # float32 lanes, GHz, GB of memory, W
    "raspberry-pi-4": (16, 1.5, 4, 15),
    "jetson-nano": (128, 0.9216, 4, 10),
    "jetson-tx2": (256, 1.12, 8, 15),
    "jetson-xavier-nx": (384, 1.1, 8, 15),
    "jetson-agx-orin": (2048, 1.3, 64, 60),
}
SERVERS = {
    "t4": (2560, 1.59, 16, 70),
    "v100": (5120, 1.53, 16, 300),
    "a100": (6912, 1.41, 40, 400),
}
HOME = {"up_mbit_s": 30.0, "down_mbit_s": 80.0, "latency_s": 0.01}
DATA_CENTRE = {"up_mbit_s": 1000.0, "down_mbit_s": 1000.0, "latency_s": 0.001}


def peak(lanes: float, ghz: float) -> float:
    """Return the peak rate in GFLOP/s, with one multiply-add in each lane and cycle."""
    return 2 * lanes * ghz


def _tiers(
    table: Mapping[str, tuple[float, float, float, float]],
    link: Mapping[str, float],
    share: float,
) -> tuple[Tier, ...]:
    """Return a Tier for each device, whose training may use a `share` of its memory."""
    return tuple(
        Tier(name=name, share=1.0, gflop_s=REACHED * peak(lanes, ghz), memory_mb=1000 * share * gb,
             power_w=watts, **link)
        for name, (lanes, ghz, gb, watts) in table.items()
    )  # fmt: skip


TABLES = {"boards": _tiers(BOARDS, HOME, APP_SHARE), "servers": _tiers(SERVERS, DATA_CENTRE, 1.0)}
"""The devices of each profile."""
