"""Draws and partial sorts for selection rules: weighted, without replacement; the largest n."""

import numpy as np

from fedmpi.arrays import AnyArray, Integers, Reals


def draw(rng: np.random.Generator, chances: Reals, number: int) -> Integers:
    """Return `number` indices into float64[n] `chances`, in the order of a weighted draw.

    The largest of log(u) / w are a weighted sample without replacement: Efraimidis and Spirakis,
    Information Processing Letters 2006. If n <= `number`, all indices are returned.
    """
    drawn = np.log1p(-rng.random(chances.size)) / chances
    return largest(drawn, number)


def largest(values: AnyArray, number: int) -> Integers:
    """Return the indices of the `number` largest of float[n], in falling order; ties by index.

    NaN counts as the least value. Only values that may be among the largest are sorted: sorting a
    million clients would take longer than the rest of a round.
    """
    falling, places = -values, np.arange(values.size)
    if 0 < number < values.size:
        places = np.flatnonzero(~(falling > np.partition(falling, number - 1)[number - 1]))
    return places[np.argsort(falling[places], kind="stable")[:number]]
