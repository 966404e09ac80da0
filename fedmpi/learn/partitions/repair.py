"""Give every client its minimum number of samples, in one step instead of drawing again."""

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.errors import ConfigError


def check_minimum(name: str, samples: int, clients: int, minimum: int) -> None:
    """Raise ConfigError if there are too few samples for `minimum` at each client."""
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

    The richest clients are cut down to the highest common level that frees enough samples.
    The samples that each of them gives away are drawn at random. The caller has checked that
    there are enough samples. Returns `owner` itself if no client has too few.
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
    """Return int64[K]: the samples each client keeps when the richest give `wanted` away."""
    low, high = 0, int(sizes.max())
    while high - low > 1:  # a cut at `low` frees enough samples, a cut at `high` does not
        level = (low + high) // 2
        low, high = (level, high) if _freed(sizes, level) >= wanted else (low, level)
    keep = np.minimum(sizes, low)
    spare = _freed(sizes, low) - wanted  # less than the number of clients above the level
    keep[np.flatnonzero(sizes > low)[:spare]] += 1
    return keep


def _freed(sizes: Integers, level: int) -> int:
    return int(np.maximum(sizes - level, 0).sum())
