"""Quantity skew: clients of very different sizes that draw from the same distribution.

The law "dirichlet" is that of Q. Li et al., "Federated Learning on Non-IID Data Silos: An
Experimental Study", ICDE 2022, arXiv:2102.02079. With the law "power", sizes fall as a power
of the rank, as in natural data.
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
        rank ** -exponent, and ranks are assigned at random.
    alpha, exponent : float
    min_samples : int
        Number of samples that every client gets first; the law distributes the rest.
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
