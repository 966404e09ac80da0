"""Partitions: how the samples of a data set are spread over the clients.

`split` is the door. Every partition is a function(labels, groups, clients, options, rng)
that draws from the given generator alone, so the same seed gives the same split on any
number of ranks.
"""

from dataclasses import dataclass, field

from fedmpi.errors import ConfigError
from fedmpi.learn.data.options import Option, nearest, resolve
from fedmpi.learn.partitions import dirichlet, iid, mixed, natural, pathological, quantity, shards
from fedmpi.learn.partitions.local_test import held_out
from fedmpi.learn.partitions.partition import Partition

__all__ = ["PARTITIONS", "Partition", "Scheme", "held_out", "split"]


@dataclass(frozen=True)
class Scheme:
    """One partition by name: `function(labels, groups, clients, options, rng)` -> Partition."""

    summary: str
    function: object
    options: dict = field(default_factory=dict)


_MIN_SAMPLES = Option(1, "samples that each client holds at least", low=0)
_ALPHA = Option(0.5, "concentration: small is skewed, large is even", above=0, high=1e9)
_SHARDS = Option(2, "label-sorted shards for each client", low=1)

PARTITIONS = {
    "iid": Scheme("equal sizes, equal mix of labels", iid.iid),
    "dirichlet": Scheme(
        "each class spread by Dirichlet(alpha) proportions",
        dirichlet.dirichlet,
        {"alpha": _ALPHA, "min_samples": _MIN_SAMPLES,
         "capped": Option(False, "no later classes for clients that are full")},
    ),
    "shards": Scheme("label-sorted shards, two for each client", shards.shards,
                     {"shards_per_client": _SHARDS}),
    "pathological": Scheme(
        "the same small number of classes for every client",
        pathological.pathological,
        {"classes_per_client": Option(2, "classes that each client holds, exactly", low=1)},
    ),
    "quantity": Scheme(
        "unequal sizes, equal mix of labels",
        quantity.quantity,
        {"alpha": _ALPHA, "min_samples": _MIN_SAMPLES,
         "law": Option("dirichlet", "law of the sizes", choices=("dirichlet", "power")),
         "exponent": Option(1.0, "fall of the power law", low=0, high=10)},
    ),
    "natural": Scheme("by writer, role or device, as in the data", natural.natural,
                      {"min_samples": _MIN_SAMPLES}),
    "mixed": Scheme(
        "FedLP's M-niid: a little iid, the rest in label-sorted shards",
        mixed.mixed,
        {"mix_rate": Option(0.95, "share of the samples in shards", low=0, high=1),
         "shards_per_client": _SHARDS},
    ),
}


def split(name, labels, groups, clients, options, rng):
    """Return who holds what.

    Parameters
    ----------
    name : str
        A key of PARTITIONS.
    labels : int64[N]
        Class of each sample.
    groups : int64[N] or None
        Natural client of each sample.
    clients : int
        Number of clients, K, at least 1 and at most N.
    options : mapping
        The partition's own keys; those left out take their defaults.
    rng : numpy.random.Generator
        As `rng_for(seed, "partition")` gives it.

    Returns
    -------
    Partition
        Every sample is there at most once.

    Raises
    ------
    ConfigError
        For an unknown name or option, or where the samples are too few.
    """
    if name not in PARTITIONS:
        known = nearest(name, PARTITIONS)
        raise ConfigError(f"data.partition = {name!r}: no such partition; {known}")
    if not 1 <= clients <= len(labels):
        raise ConfigError(
            f"clients.number = {clients}: must be from 1 to {len(labels)}, the number of samples"
        )
    scheme = PARTITIONS[name]
    values = resolve(f"data.{name}", scheme.options, options)
    return scheme.function(labels, groups, clients, values, rng)
