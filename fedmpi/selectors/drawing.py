"""Weighted draws without replacement, and the first few of many, which rules of selection share."""

import numpy as np

from fedmpi.arrays import AnyArray, Integers, Reals


def draw(rng: np.random.Generator, chances: Reals, number: int) -> Integers:
    """Return `number` places in float64[n] `chances`, in the order of a weighted draw.

    The largest of log(u) / w are a weighted sample without replacement: Efraimidis and Spirakis,
    Information Processing Letters 2006. All places if there are no more.
    """
    drawn = np.log1p(-rng.random(chances.size)) / chances
    return largest(drawn, number)


def largest(values: AnyArray, number: int) -> Integers:
    """Return the places of the `number` largest of float[n], of equal ones the first, in order.

    NaN is the least. Only what may be among them is sorted: to sort a million clients would take
    longer than the rest of a round.
    """
    falling, places = -values, np.arange(values.size)
    if 0 < number < values.size:
        places = np.flatnonzero(~(falling > np.partition(falling, number - 1)[number - 1]))
    return places[np.argsort(falling[places], kind="stable")[:number]]
