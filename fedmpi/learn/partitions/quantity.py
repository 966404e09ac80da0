"""Clients of very different size that draw from the same pot: quantity skew.

Q. Li et al., "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022,
arXiv:2102.02079 (law "dirichlet"); sizes that fall as a power of the rank are what
natural data show (law "power").
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.learn.partitions.partition import Partition, from_owner
from fedmpi.learn.partitions.repair import check_minimum


def quantity(
    labels: Integers, groups: Integers | None, clients: int, options: Mapping[str, Any],
    rng: np.random.Generator,
) -> Partition:  # fmt: skip
    """Deal all samples at random to clients of unequal size.

    Options
    -------
    law : str
        "dirichlet": shares ~ Dirichlet(alpha, ..., alpha). "power": shares fall as
        rank ** -exponent, and ranks are given at random.
    alpha, exponent : float
    min_samples : int
        Every client gets these first; the law shares out the rest.
    """
    least = options["min_samples"]
    check_minimum("quantity", len(labels), clients, least)
    if options["law"] == "power":
        share = rng.permutation(np.arange(1.0, clients + 1) ** -options["exponent"])
    else:
        share = rng.dirichlet(np.full(clients, options["alpha"]))
    edges = np.cumsum(share)
    bounds = np.rint(edges / edges[-1] * (len(labels) - least * clients)).astype(np.int64)
    owner = np.empty(len(labels), np.int64)
    owner[rng.permutation(len(labels))] = np.repeat(
        np.arange(clients), least + np.diff(bounds, prepend=0)
    )
    return from_owner(owner, clients)
