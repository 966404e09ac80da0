"""The devices of the clients: how fast they compute, and how fast their links are."""

from dataclasses import dataclass

import numpy as np

from fedmpi.config import Tier
from fedmpi.rng import rng_for

# Compute rates stand in the ratio of the seconds per batch that FLASH measured on a slow, a
# middle and a fast phone (1642, 588 and 179 ms for the FEMNIST CNN; Yang et al., WWW 2021,
# arXiv:2006.06983). Shares and links are round numbers of ours.
TIERS = (
    Tier(name="slow", share=0.4, gflop_s=1.0, up_mbit_s=2.0, down_mbit_s=8.0, latency_s=0.1),
    Tier(name="middle", share=0.4, gflop_s=2.8, up_mbit_s=8.0, down_mbit_s=30.0),
    Tier(name="fast", share=0.2, gflop_s=9.2, up_mbit_s=20.0, down_mbit_s=80.0, latency_s=0.02),
)
PROFILES = {
    "uniform": "every client has the same device: [devices] gflop_s and the links of [network]",
    "tiers": "clients are dealt over named tiers: [[devices.tiers]], or slow, middle and fast",
}


@dataclass(frozen=True, eq=False)
class Devices:
    """One device for each client; arrays [K].

    `tier` int64 indexes `names`; `gflop_s` float64 counts 1e9 floating-point operations
    per second; links are float64 in Mbit/s (1e6 bits), `latency_s` in seconds a message.
    """

    names: tuple
    tier: np.ndarray
    gflop_s: np.ndarray
    up_mbit_s: np.ndarray
    down_mbit_s: np.ndarray
    latency_s: np.ndarray

    @property
    def speed(self):
        """float64[K]: compute rate relative to the fastest client."""
        return self.gflop_s / self.gflop_s.max()


def devices_of(config, seed):
    """Return the Devices of all clients of a Config.

    Tiers are dealt in proportion to their shares (largest remainders), to clients in an
    order drawn from the seed.
    """
    clients, link = config.clients.number, config.network
    tiers = config.devices.tiers or TIERS
    if config.devices.profile == "uniform":
        tiers = (
            Tier(
                name="uniform",
                share=1.0,
                gflop_s=config.devices.gflop_s,
                up_mbit_s=link.up_mbit_s,
                down_mbit_s=link.down_mbit_s,
                latency_s=link.latency_s,
            ),
        )
    dealt = np.repeat(np.arange(len(tiers)), _deal(tiers, clients))
    tier = rng_for(seed, "devices").permutation(dealt)
    column = {
        key: np.array([getattr(t, key) for t in tiers])[tier]
        for key in ("gflop_s", "up_mbit_s", "down_mbit_s", "latency_s")
    }
    return Devices(names=tuple(t.name for t in tiers), tier=tier, **column)


def _deal(tiers, clients):
    """Whole numbers of clients in proportion to the shares, largest remainders first."""
    shares = np.array([t.share for t in tiers])
    exact = shares / shares.sum() * clients
    counts = np.floor(exact).astype(np.int64)
    rest = np.argsort(counts - exact, kind="stable")[: clients - counts.sum()]
    counts[rest] += 1
    return counts
