"""Weighted draws without replacement, which rules of selection share."""

import numpy as np

from fedmpi.arrays import Integers, Reals


def draw(rng: np.random.Generator, chances: Reals, number: int) -> Integers:
    """Return `number` places in float64[n] `chances`, in the order of a weighted draw.

    The largest of log(u) / w are a weighted sample without replacement: Efraimidis and Spirakis,
    Information Processing Letters 2006. All places if there are no more.
    """
    drawn = np.log1p(-rng.random(chances.size)) / chances
    return np.argsort(-drawn, kind="stable")[:number]
