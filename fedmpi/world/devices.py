"""The devices of the clients, with their compute rates, links, memory and energy."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fedmpi.arrays import AnyArray, Integers, Reals
from fedmpi.config import Config
from fedmpi.rng import rng_for
from fedmpi.simulated import DevicesSection, Tier
from fedmpi.world import phones
from fedmpi.world.boards import TABLES
from fedmpi.world.nights import Nights
from fedmpi.world.on_off import OnOff
from fedmpi.world.presence import Presence, shifts
from fedmpi.world.profile import NUMBERS, RATES
from fedmpi.world.recorded import Recorded, spells_of
from fedmpi.world.series import Links

# The ratios of the compute rates are those that FLASH measured on a slow, a middle and a fast
# phone (1642, 588 and 179 ms per batch of the FEMNIST CNN; Yang et al., WWW 2021,
# arXiv:2006.06983). Shares and links are our own round numbers.
TIERS = (
    Tier(name="slow", share=0.4, gflop_s=1.0, up_mbit_s=2.0, down_mbit_s=8.0, latency_s=0.1),
    Tier(name="middle", share=0.4, gflop_s=2.8, up_mbit_s=8.0, down_mbit_s=30.0),
    Tier(name="fast", share=0.2, gflop_s=9.2, up_mbit_s=20.0, down_mbit_s=80.0, latency_s=0.02),
)
# A population of phones: (median, sigma of the logarithm). Compute rates are a least-squares fit to
# the rates of TIERS at the middle of each tier's share, the 20th, 60th and 90th percentile. The
# medians of the links are from all mobile tests of Speedtest in the first quarter of 2023 (Ookla,
# Speedtest Global Index: 41.54 and 10.42 Mbit/s, 28 ms). Their spread is from measurements of a
# content network: 60 % of mobile users stay below 50 Mbit/s, and 5 % below 20 ms (Rizvi, Heidemann
# and Plonka 2025, arXiv:2507.18834). Our own assumptions are that all are log-normal, that a good
# link is good both ways, and the cut at two sigma, so that no phone is arbitrarily fast.
MOBILE = {
    "gflop_s": (2.32, 1.04),
    "up_mbit_s": (10.42, 0.73),
    "down_mbit_s": (41.54, 0.73),
    "latency_s": (0.028, 0.2),
}
CUT = 2.0  # sigmas


@dataclass(frozen=True, eq=False)
class Devices:
    """One device for each client; arrays [K].

    `tier`, of any integer type, indexes `names`. `gflop_s` float64 is in 1e9 floating-point
    operations per second. Links are float64 in Mbit/s (1e6 bits), and `latency_s` is in seconds a
    message. `availability` and `dropout` are float64 probabilities in a round. `memory_mb` float64
    is infinite where there is no limit. Powers are in watts, and `joule_per_mb` is for 1e6 bytes. A
    column with the same number for all clients stores it once. `presence` gives the availability
    over time, `links` the link rates over time, and `jitter` the random variation of the rates.
    """

    names: tuple[str, ...]
    tier: AnyArray
    gflop_s: Reals
    up_mbit_s: Reals
    down_mbit_s: Reals
    latency_s: Reals
    availability: Reals
    dropout: Reals
    memory_mb: Reals
    power_w: Reals
    idle_w: Reals
    joule_per_mb: Reals
    presence: Presence | None = None
    links: Links | None = None
    jitter: float = 0.0
    cell_clients: int = 1
    cell_mbit_s: float = 0.0  # 0: no cell has a limit

    @cached_property
    def speed(self) -> Reals:
        """float64[K]: compute rate relative to that of the fastest client."""
        if alike(self.gflop_s):
            return np.broadcast_to(np.float64(1.0), self.gflop_s.shape)
        relative: Reals = self.gflop_s / self.gflop_s.max()
        return relative

    @cached_property
    def may_be_away(self) -> bool:
        """True if any client may be away from a round by chance, apart from its trace."""
        return bool((self.availability < 1).any())

    @cached_property
    def may_be_lost(self) -> bool:
        """True if any client may be lost during a round by chance."""
        return bool(self.dropout.any())

    @cached_property
    def has_limits(self) -> bool:
        """True if any device has a limit of memory."""
        return bool(np.isfinite(self.memory_mb).any())

    def individual(self) -> dict[str, AnyArray]:
        """Return the arrays [K] in which clients differ, by name, which ranks may share."""
        columns = {name: getattr(self, name) for name in ("tier", *RATES, *NUMBERS)}
        return {name: values for name, values in columns.items() if not alike(values)}

    def columns(self) -> dict[str, AnyArray]:
        """Return the columns to be recorded, column -> values [K], with tiers by name.

        Availability and dropout are included if any client may be away or lost, memory if any
        device has a limit, powers if any device has one, and columns of a trace if there is one.
        """
        columns: dict[str, Any] = {"tier": np.array(self.names)[self.tier]}
        columns |= {name: getattr(self, name) for name in RATES}
        if self.may_be_away or self.may_be_lost:
            columns |= {"availability": self.availability, "dropout": self.dropout}
        if self.has_limits:
            columns["memory_mb"] = self.memory_mb
        columns |= {name: getattr(self, name) for name in POWERS if getattr(self, name).any()}
        return columns | (self.presence.columns() if self.presence else {})


POWERS = ("power_w", "idle_w", "joule_per_mb")


def devices_of(config: Config, seed: int) -> Devices:
    """Return the Devices of all clients of a Config, in an order drawn from the seed.

    Tiers are assigned in proportion to their shares (largest remainders). The rows of a file are
    assigned one by one, starting over after the last. If there are more rows than clients, a random
    subset of the rows is used.
    """
    clients, section, rng = config.clients.number, config.devices, rng_for(seed, "devices")
    column: dict[str, Any] = {
        key: np.broadcast_to(_of_all(section, key), clients) for key in NUMBERS
    }
    names: tuple[str, ...]
    tier: AnyArray
    if section.profile == "mobile":
        names, tier = ("mobile",), np.broadcast_to(np.uint16(0), clients)
        column |= _population(clients, rng)
    elif section.profile == "phones":
        names = phones.NAMES
        tier, drawn = phones.deal(clients, rng)
        column |= drawn if section.memory_mb is None else drawn | {"memory_mb": column["memory_mb"]}
    else:
        tiers = _tiers(config)
        names = tuple(t.name for t in tiers)
        if section.from_file:
            tier = np.resize(rng.permutation(len(tiers)), clients)
        else:
            tier = rng.permutation(np.repeat(np.arange(len(tiers)), _deal(tiers, clients)))
        tier = tier.astype(np.min_scalar_type(len(tiers)))
        column |= _of_tiers(tiers, tier, section)
    links = None if section.links is None else Links(section.links)
    presence = _presence(section, clients, seed)
    return Devices(
        names,
        tier,
        **column,
        presence=presence,
        links=links,
        jitter=section.jitter,
        cell_clients=section.cell_clients,
        cell_mbit_s=section.cell_mbit_s or 0.0,
    )


def _of_all(section: DevicesSection, key: str) -> float:
    """Return a number that [devices] gives for all clients, infinity for no memory limit."""
    value = getattr(section, key)
    return np.inf if value is None else float(value)


def _of_tiers(
    tiers: Sequence[Tier], tier: AnyArray, section: DevicesSection
) -> dict[str, Reals]:
    """Return the columns [K] of clients whose devices are `tier` int[K] of `tiers`."""
    column = {key: _dealt([getattr(t, key) for t in tiers], tier) for key in RATES}
    for key in NUMBERS:
        own, rest = [getattr(t, key) for t in tiers], _of_all(section, key)
        column[key] = _dealt([rest if value is None else value for value in own], tier)
    return column


def _dealt(given: Sequence[float], tier: AnyArray) -> Reals:
    """Return the value of each client's tier, float64[K], stored once if all are the same."""
    values = np.array(given, np.float64)
    return np.broadcast_to(values[0], tier.shape) if (values == values[0]).all() else values[tier]


def alike(column: AnyArray) -> bool:
    """Return whether a column [K] stores a single number for all clients."""
    return column.strides == (0,)


def _presence(section: DevicesSection, clients: int, seed: int) -> Presence | None:
    """Return the Presence for [devices] trace, or None if there is no trace."""
    if section.trace is None:
        return None
    shift = shifts(section.time_zones, clients, seed)
    if section.trace == "nights":
        night = (section.night_starts_h, section.night_h, section.night_spread_h)
        return Nights(seed, shift, *night)
    if section.trace == "on-off":
        return OnOff(seed, shift, section.on_s, section.off_s)
    recorded = section.recorded or ()
    count = len(recorded)
    order = rng_for(seed, "traces").permutation(count)
    # A line of CSV names its client. Recorded phones belong to no client, so they are shuffled.
    device = np.arange(clients) % count
    return Recorded(
        spells_of(recorded),
        device if section.trace.endswith(".csv") else order[device],
        shift,
    )


def _tiers(config: Config) -> Sequence[Tier]:
    """Return the Tiers of a Config; numbers set in [devices] replace those of a table."""
    link = config.network
    if config.devices.profile in TABLES:
        given = {key: None for key in NUMBERS if getattr(config.devices, key)}
        return [tier.model_copy(update=given) for tier in TABLES[config.devices.profile]]
    if config.devices.profile != "uniform":
        return config.devices.tiers or TIERS
    rates = {name: getattr(link, name) for name in RATES[1:]}
    return (Tier(name="uniform", share=1.0, gflop_s=config.devices.gflop_s, **rates),)


def _population(clients: int, rng: np.random.Generator) -> dict[str, Reals]:
    """Return the columns of MOBILE, float64[clients] each; up and down share one draw."""
    drawn = np.clip(rng.standard_normal((3, clients)), -CUT, CUT)
    normal = dict(zip(RATES, (drawn[0], drawn[1], drawn[1], drawn[2]), strict=True))
    return {name: median * np.exp(sigma * normal[name]) for name, (median, sigma) in MOBILE.items()}


def _deal(tiers: Sequence[Tier], clients: int) -> Integers:
    """Return the number of clients of each tier, by its share and largest remainders."""
    shares = np.array([t.share for t in tiers])
    exact = shares / shares.sum() * clients
    counts: Integers = np.floor(exact).astype(np.int64)
    rest = np.argsort(counts - exact, kind="stable")[: clients - counts.sum()]
    counts[rest] += 1
    return counts
