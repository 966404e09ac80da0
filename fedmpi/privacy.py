"""What differential privacy a run gives its clients: epsilon at a delta, by an accountant.

The accountant is dp_accounting (Google's), an extra: pip install 'fedmpi[privacy]'. Two runs are
neighbours if one client's data are replaced. So a change of an L2 norm of at most C moves a sum by
up to 2 C, and noise of z * C counts as z / 2. A cohort of fixed size, drawn uniformly without
replacement, amplifies (Wang, Balle and Kasiviswanathan, AISTATS 2019, arXiv:1808.00087); any other
does not. Renyi divergences are composed over the rounds (Mironov, CSF 2017, arXiv:1702.07476).
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
    """Normal noise of a stage: `multiplier` * `norm` on changes of at most that L2 norm.

    `local` if every client adds it to its own change; else the sum gets it, times a share.
    """

    multiplier: float
    norm: float
    delta: float
    local: bool

    def __post_init__(self) -> None:
        """Raise ConfigError for numbers of which no privacy follows."""
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
    """How a round's clients are drawn: `cohort` of `clients`, uniformly or not."""

    cohort: int
    clients: int
    uniform: bool


def epsilon(noise: Noise, sampling: Sampling, rounds: int) -> float:
    """Return epsilon at noise.delta after so many rounds.

    Of local noise it holds for a client that took part in every round, against the server. NaN
    if dp_accounting is not installed.
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
    """Return (orders, Renyi divergence of each) of one round; it takes a second."""
    from dp_accounting import dp_event, rdp
    from dp_accounting.privacy_accountant import NeighboringRelation

    accountant = rdp.RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_ONE)
    event: dp_event.DpEvent = dp_event.GaussianDpEvent(multiplier / 2)
    if cohort < clients:
        event = dp_event.SampledWithoutReplacementDpEvent(clients, cohort, event)
    accountant.compose(event)
    return np.array(accountant.orders), accountant.rdp
