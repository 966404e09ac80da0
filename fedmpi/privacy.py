"""The differential privacy that a run gives its clients: epsilon at a delta, by an accountant.

The accountant is Google's dp_accounting, an optional package: pip install 'fedmpi[privacy]'. Two
runs are neighbours if one client's data are replaced. If changes have an L2 norm of at most C, a
replaced client moves a sum by up to 2 C, so noise of z * C counts as z / 2. Only a cohort of fixed
size, drawn uniformly without replacement, amplifies privacy (Wang, Balle and Kasiviswanathan,
AISTATS 2019, arXiv:1808.00087). Renyi divergences are composed over the rounds (Mironov, CSF 2017,
arXiv:1702.07476).
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from math import inf

import numpy as np

from fedmpi.arrays import Reals
from fedmpi.errors import ConfigError


@dataclass(frozen=True)
class Noise:
    """Normal noise of a stage, with deviation `multiplier` * `norm`.

    Changes have an L2 norm of at most `norm`. With `local`, every client adds the noise to its own
    change; otherwise it is added to the sum, times a share.
    """

    multiplier: float
    norm: float
    delta: float
    local: bool

    def __post_init__(self) -> None:
        """Raise ConfigError if a number is outside its limits."""
        for name, least, most in (("multiplier", 0, inf), ("norm", 0, inf), ("delta", 0, 1)):
            value = getattr(self, name)
            plain = isinstance(value, int | float | np.integer | np.floating)
            above = plain and (value > least or (name == "multiplier" and value == 0))
            if not (above and value < most):
                wanted = {"multiplier": "a finite number, not negative",
                          "norm": "a finite number above 0", "delta": "between 0 and 1"}[name]
                raise ConfigError(f"Noise: {name} is {value!r}; it must be {wanted}")


@dataclass(frozen=True)
class Sampling:
    """The sampling of a round's clients: `cohort` out of `clients`, `uniform` or not."""

    cohort: int
    clients: int
    uniform: bool


def epsilon(noise: Noise, sampling: Sampling, rounds: int) -> float:
    """Return epsilon at noise.delta after `rounds` rounds, NaN if dp_accounting is not installed.

    For local noise, it is the protection from the server of a client that took part in every round.
    """
    if not noise.multiplier:
        return float("inf")
    if find_spec("dp_accounting") is None:
        return float("nan")
    from dp_accounting import rdp

    amplified = sampling.uniform and not noise.local and sampling.cohort < sampling.clients
    drawn = (sampling.cohort, sampling.clients) if amplified else (1, 1)
    orders, each = _of_a_round(noise.multiplier, *drawn)
    return float(rdp.compute_epsilon(orders, rounds * each, noise.delta)[0])


@lru_cache(maxsize=16)
def _of_a_round(multiplier: float, cohort: int, clients: int) -> tuple[Reals, Reals]:
    """Return (orders, Renyi divergence at each order) of one round; this takes about a second."""
    from dp_accounting import dp_event, rdp
    from dp_accounting.privacy_accountant import NeighboringRelation

    accountant = rdp.RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_ONE)
    event: dp_event.DpEvent = dp_event.GaussianDpEvent(multiplier / 2)
    if cohort < clients:
        event = dp_event.SampledWithoutReplacementDpEvent(clients, cohort, event)
    accountant.compose(event)
    return np.array(accountant.orders), accountant.rdp
