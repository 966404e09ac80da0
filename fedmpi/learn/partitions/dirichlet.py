"""Label skew by Dirichlet proportions: each class is spread unevenly over the clients.

For each class, p ~ Dirichlet(alpha, ..., alpha) over the clients, and client k gets the
share p_k of that class (M. Yurochkin et al., "Bayesian Nonparametric Federated Learning of
Neural Networks", ICML 2019; Q. Li et al., "Federated Learning on Non-IID Data Silos", ICDE
2022). Their code draws again until every client holds `min_samples`, which may take forever.
Here the richest clients give the missing samples to the poorest, in a single step.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedmpi.arrays import Bools, Integers, Reals
from fedmpi.learn.partitions.partition import Partition, from_owner
from fedmpi.learn.partitions.repair import at_least, check_minimum


def dirichlet(
    labels: Integers, groups: Integers | None, clients: int, options: Mapping[str, Any],
    rng: np.random.Generator,
) -> Partition:  # fmt: skip
    """Spread each class by Dirichlet proportions; all samples are used.

    Options
    -------
    alpha : float
        Above 0. A small value gives a skewed split, a large one is close to iid.
    min_samples : int
        Least number of samples of a client.
    capped : bool
        If true, a client that holds N / clients samples gets nothing of later classes
        (the balancing step of FedML and NIID-Bench).
    """
    check_minimum("dirichlet", len(labels), clients, options["min_samples"])
    owner = np.empty(len(labels), np.int64)
    sizes = np.zeros(clients, np.int64)
    for label in np.unique(labels):
        samples = rng.permutation(np.flatnonzero(labels == label))
        share = rng.dirichlet(np.full(clients, float(options["alpha"])))
        if options["capped"]:
            share = share * (sizes < len(labels) / clients)
        got = _apportion(share, len(samples), sizes < len(labels) / clients)
        owner[samples] = np.repeat(np.arange(clients), got)
        sizes += got
    return from_owner(at_least(owner, clients, options["min_samples"], rng), clients)


def _apportion(share: Reals, size: int, otherwise: Bools) -> Integers:
    """Return int64[K] that adds up to `size` in proportion to `share`, float64[K].

    If all shares are 0, the clients marked in `otherwise`, bool[K], get equal parts.
    """
    held = share if share.sum() > 0 else otherwise
    edges = np.cumsum(held, dtype=np.float64)
    bounds: Integers = np.rint(edges / edges[-1] * size).astype(np.int64)
    return np.diff(bounds, prepend=0)
