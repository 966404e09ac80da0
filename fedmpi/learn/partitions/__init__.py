"""Partitions: how the samples of a data set are distributed over the clients.

`split` is the entry point. Every partition is a function (labels, groups, clients, options,
rng) that draws only from the given generator, so the same seed gives the same split on any
number of ranks.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from fedmpi import user_code
from fedmpi.arrays import Integers
from fedmpi.errors import ConfigError
from fedmpi.learn.partitions import partition_keys
from fedmpi.learn.partitions.drawn import Drawn, drawn
from fedmpi.learn.partitions.local_test import held_out
from fedmpi.learn.partitions.partition import Partition, from_owner
from fedmpi.registry import Entry, Registry
from fedmpi.rng import seeded_generators

__all__ = ["PARTITIONS", "Drawn", "Partition", "drawn", "held_out", "split"]

_HERE = "fedmpi.learn.partitions."

PARTITIONS = Registry(
    "partition",
    "data.partition",
    "a function (labels, groups, clients, rng, **keys) with the decorator @fedmpi.partition",
    {
        "iid": Entry("equal sizes, equal mix of labels", _HERE + "iid:iid"),
        "dirichlet": Entry(
            "each class spread by Dirichlet(alpha) proportions",
            _HERE + "dirichlet:dirichlet",
            partition_keys.DirichletKeys,
        ),
        "shards": Entry(
            "label-sorted shards, two for each client",
            _HERE + "shards:shards",
            partition_keys.ShardsKeys,
        ),
        "pathological": Entry(
            "the same small number of classes for every client",
            _HERE + "pathological:pathological",
            partition_keys.PathologicalKeys,
        ),
        "quantity": Entry(
            "unequal sizes, equal mix of labels",
            _HERE + "quantity:quantity",
            partition_keys.QuantityKeys,
        ),
        "natural": Entry(
            "by writer, role or device, as in the data",
            _HERE + "natural:natural",
            partition_keys.NaturalKeys,
        ),
        "mixed": Entry(
            "FedLP's M-niid: a little iid, the rest in label-sorted shards",
            _HERE + "mixed:mixed",
            partition_keys.MixedKeys,
        ),
    },
    ("labels", "groups", "clients", "rng"),
)


def split(
    name: str, labels: Integers, groups: Integers | None, clients: int, options: Mapping[str, Any],
    rng: np.random.Generator,
) -> Partition:  # fmt: skip
    """Return the partition of a data set's samples over the clients.

    Parameters
    ----------
    name : str
        A key of PARTITIONS, or "package.module:object" of the user's code: a function
        (labels, groups, clients, rng, **options) with the decorator `fedmpi.partition`. It
        returns the client of each sample, int64[N], with -1 for samples that no client holds.
    labels : int64[N]
        Class of each sample.
    groups : int64[N] or None
        Natural client of each sample.
    clients : int
        Number of clients, K, at least 1 and at most N.
    options : mapping
        The partition's own keys; missing keys take their defaults.
    rng : numpy.random.Generator
        The result of `rng_for(seed, "partition")`.

    Returns
    -------
    Partition
        Each sample is in it at most once.

    Raises
    ------
    ConfigError
        If the name or an option is unknown, or there are too few samples.
    """
    entry = PARTITIONS.find(name)
    options = entry.checked(options, "configuration", "data.")
    if not 1 <= clients <= len(labels):
        raise ConfigError(
            f"clients.number = {clients}: must be from 1 to {len(labels)}, the number of samples"
        )
    if ":" not in name:
        found: Partition = entry.make(labels, groups, clients, options, rng)
        return found
    with user_code.config_error_at(f"data.partition = {name!r}"), seeded_generators(0):
        owner = entry.make(labels, groups, clients, rng, **options)
    return _of_own(owner, name, len(labels), clients)


def _of_own(owner: Any, name: str, samples: int, clients: int) -> Partition:
    """Return the Partition for `owner`, the result of a user's function; or raise ConfigError."""
    found, place = owner, f"data.partition = {name!r}"
    with suppress(ValueError):  # lists of different lengths do not form an array
        found = np.asarray(owner)
    if not isinstance(found, np.ndarray) or (found.dtype.kind == "O" and not found.ndim):
        of = " of arrays or lists" if isinstance(owner, list | tuple) else ""
        raise ConfigError(
            f"{place}: returned a {type(owner).__name__}{of}; return the client of each sample, "
            f"int64[{samples}]"
        )
    owner = found
    if owner.shape != (samples,) or owner.dtype.kind not in "iu":
        raise ConfigError(
            f"{place}: returned {owner.dtype}[{', '.join(map(str, owner.shape))}]; return the "
            f"client of each sample, int64[{samples}]"
        )
    if (owner == -1).all():
        raise ConfigError(
            f"{place}: returned -1 for all {samples} samples, so no client has any; return the "
            f"client of each sample, from 0 to {clients - 1}"
        )
    wrong = np.flatnonzero((owner < -1) | (owner >= clients))
    if wrong.size:
        raise ConfigError(
            f"{place}: sample {wrong[0]} went to client {owner[wrong[0]]}; "
            f"clients are 0 to {clients - 1}, and -1 is no client"
        )
    return from_owner(owner.astype(np.int64), clients)
