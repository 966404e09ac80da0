"""The small problems of Mozer and Smolensky's "Skeletonization" (NIPS 1988), as data sets.

All patterns are given, for training and testing alike, with cues of -1 and 1; the one output
unit of the paper is two classes here. The paper's text was not at hand: cue correlations, the
random mapping's size and the seven features of a train are ours.

- "cue-salience": ten patterns of four cues that agree with the class in 10, 8, 6 and 5 of them.
- "rule-plus-exception": four bits; on if the first two are on, or if all four are off.
- "multiplexer": two address bits choose one of four data bits, which is the class.
- "trains": Michalski's ten trains (IEEE PAMI 2:349, 1980), five of them going east, by seven
  features of which two suffice: with a closed car and three cars or more, a train goes east.
- "random-mapping": 2^bits patterns with random classes, equally many of each.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedmpi.arrays import Bools
from fedmpi.learn.data.dataset import Dataset
from fedmpi.rng import rng_for

# A line for each train, the eastbound first: does it have a long car, a closed car, a load of
# triangles, three cars or more, a car with three wheels, a U-shaped car, a load of circles?
_TRAINS = """
    1 1 1 1 1 0 1
    0 1 1 1 0 1 1
    1 1 1 1 1 0 1
    0 1 1 1 0 1 0
    0 1 1 1 1 0 1
    1 1 1 0 0 0 1
    1 0 1 1 0 1 1
    1 1 0 0 1 1 1
    1 0 0 1 0 1 1
    1 0 0 0 0 1 0
"""
_AGREE = (10, 8, 6, 5)  # patterns of ten in which each cue agrees with the class


def rules(root: Path | None, options: Mapping[str, Any], cache: Path | None = None) -> Dataset:
    """Return one of the problems; needs no files. x is float32[N, bits] of -1 and 1."""
    problem = options["problem"]
    if problem == "cue-salience":
        x, y = _cues()
    elif problem == "rule-plus-exception":
        x = _bits(4)
        y = (x[:, 0] & x[:, 1]) | ~x.any(axis=1)
    elif problem == "trains":
        x = np.array(_TRAINS.split(), np.int64).reshape(10, 7).astype(bool)
        y = np.arange(10) < 5
    elif problem == "multiplexer":
        x = _bits(6)
        y = x[np.arange(64), 2 + 2 * x[:, 0] + x[:, 1]]
    else:
        x = _bits(options["bits"])
        y = rng_for(options["seed"], "random-mapping").permutation(np.arange(len(x)) % 2)
    given = (2 * x.astype(np.float32) - 1, y.astype(np.int64))
    return Dataset.of("rules", "features", given, given, classes=2)


def _bits(number: int) -> Bools:
    """bool[2^n, n]: all patterns of n bits."""
    return (np.arange(2**number)[:, None] >> np.arange(number)[::-1] & 1).astype(bool)


def _cues() -> tuple[Bools, Bools]:
    """bool[10, 4] and bool[10]: five patterns of each class, and cues that disagree with some."""
    y = np.arange(10) % 2 == 0
    columns = []
    for cue, agreeing in enumerate(_AGREE):
        # Classes take turns among the disagreeing patterns, which begin elsewhere for each cue.
        flip = (np.arange(10) + 3 * cue) % 10 >= agreeing
        columns.append(y ^ flip)
    return np.stack(columns, axis=1), y
