"""Grey images from a formula, in any size and number, for measurements without data files.

Each class has a pattern of white noise. An image is the pattern of its class plus noise of its
own, as bytes: 128 + 40 (pattern + 0.8 noise), clipped. A linear model learns them at once, so
their accuracy can show that two programs agree, but not that one method is better than another.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedmpi.arrays import Integers, Octets, Vector
from fedmpi.learn.data.dataset import Dataset
from fedmpi.rng import rng_for


def patterns(
    root: Path | None, options: Mapping[str, Any], cache: Path | None = None
) -> Dataset:
    """Return noisy patterns; needs no files. x is uint8[N, 1, side, side]."""
    rng = rng_for(options["seed"], "patterns")
    shape = 1, options["side"], options["side"]
    base = rng.standard_normal((options["classes"], *shape), np.float32)
    sizes = options["images"], options["images"] // 6
    train, test = (_part(rng, base, size) for size in sizes)
    return Dataset.of("patterns", "image", train, test, options["classes"])


def _part(rng: np.random.Generator, base: Vector, size: int) -> tuple[Octets, Integers]:
    """Return `size` images as (x, y)."""
    y = rng.integers(0, len(base), size)
    x = rng.standard_normal((size, *base.shape[1:]), np.float32)
    x *= np.float32(0.8 * 40)
    x += 40 * base[y] + np.float32(128)
    return np.clip(x, 0, 255, out=x).astype(np.uint8), y
