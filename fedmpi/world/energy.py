"""The energy in joules that a round takes on the clients' devices, and its CO2 in grams."""

from fedmpi import simulated
from fedmpi.arrays import Integers, Reals
from fedmpi.world.clock import Spans
from fedmpi.world.devices import Devices
from fedmpi.world.series import value_at

JOULES_PER_KWH = 3.6e6


def joules(devices: Devices, clients: Integers, span: Spans, bytes_moved: Integers) -> Reals:
    """Return the energy in joules of `clients` int64[n] in their Spans, cut off, float64[n].

    A device draws power_w while it computes, and idle_w while it receives and sends. Its radio
    takes joule_per_mb for each 10^6 bytes of `bytes_moved` int64[n], up and down together.
    """
    return (
        devices.power_w[clients] * span.compute
        + devices.idle_w[clients] * (span.down + span.up)
        + devices.joule_per_mb[clients] * (bytes_moved / 1e6)
    )


def grams(energy: float, section: simulated.DevicesSection, now: float) -> float:
    """Return the grams of CO2 for `energy` joules at virtual second `now`, by [devices]."""
    if section.intensity is not None:
        return energy / JOULES_PER_KWH * value_at(section.intensity, now)
    return energy / JOULES_PER_KWH * float(section.carbon_g_per_kwh)
