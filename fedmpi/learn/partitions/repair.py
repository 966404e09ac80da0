"""Give every client its least number of samples, in one step and without a loop of tries."""

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.errors import ConfigError


def check_minimum(name: str, samples: int, clients: int, minimum: int) -> None:
    """Raise ConfigError if `samples` are too few for `minimum` at each of the clients."""
    if minimum * clients > samples:
        raise ConfigError(
            f"data.min_samples = {minimum}: partition {name!r} cannot give {clients:,} clients "
            f"{minimum} samples each out of {samples:,}\n"
            f"take at most {samples // clients} per client, or fewer clients"
        )


def at_least(
    owner: Integers, clients: int, minimum: int, rng: np.random.Generator
) -> Integers:
    """Return owner int64[N] changed so that each client holds at least `minimum` samples.

    The richest clients are cut down to one level, the highest that frees enough samples;
    those that each of them gives are drawn at random. The caller has checked that there
    are enough samples. Returns `owner` itself where nothing is missing.
    """
    sizes = np.bincount(owner, minlength=clients)
    missing = np.maximum(minimum - sizes, 0)
    if not missing.any():
        return owner
    keep = _keep(sizes, missing.sum())
    order = rng.permutation(len(owner))
    order = order[np.argsort(owner[order], kind="stable")]
    place = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    given = rng.permutation(order[place >= np.repeat(keep, sizes)])
    changed = owner.copy()
    changed[given] = np.repeat(np.arange(clients), missing)
    return changed


def _keep(sizes: Integers, wanted: int) -> Integers:
    """Return int64[K]: what each client keeps when the richest give `wanted` samples away."""
    low, high = 0, int(sizes.max())
    while high - low > 1:  # the cut at `low` frees enough, the one at `high` does not
        level = (low + high) // 2
        low, high = (level, high) if _freed(sizes, level) >= wanted else (low, level)
    keep = np.minimum(sizes, low)
    spare = _freed(sizes, low) - wanted  # fewer than the clients above the level
    keep[np.flatnonzero(sizes > low)[:spare]] += 1
    return keep


def _freed(sizes: Integers, level: int) -> int:
    return int(np.maximum(sizes - level, 0).sum())
