"""The small problems of Mozer and Smolensky's "Skeletonization" (NIPS 1988), as data sets.

All patterns serve both for training and for testing, with cues of -1 and 1. The paper's single
output unit becomes two classes. The paper's text was not available: the cue correlations, the
size of the random mapping and the seven features of a train were chosen here.

- "cue-salience": ten patterns of four cues, which agree with the class in 10, 8, 6 and 5 patterns.
- "rule-plus-exception": four bits; on if the first two are on, or if all four are off.
- "multiplexer": two address bits choose one of four data bits, which is the class.
- "trains": Michalski's ten trains (IEEE PAMI 2:349, 1980), five of which go east, described by
  seven features. Two suffice: a train with a closed car and three or more cars goes east.
- "random-mapping": 2^bits patterns with random classes, each class equally often.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedmpi.arrays import Bools
from fedmpi.learn.data.dataset import Dataset
from fedmpi.rng import rng_for

# A line for each train, the eastbound trains first. The columns: does it have a long car, a closed
# car, a load of triangles, three or more cars, a car with three wheels, a U-shaped car, a load of
# circles?
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
_AGREE = (10, 8, 6, 5)  # number of patterns, out of ten, in which each cue agrees with the class


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
    """Return bool[2^n, n]: all patterns of n bits."""
    return (np.arange(2**number)[:, None] >> np.arange(number)[::-1] & 1).astype(bool)


def _cues() -> tuple[Bools, Bools]:
    """Return bool[10, 4] and bool[10], cues and classes: five patterns of each class."""
    y = np.arange(10) % 2 == 0
    columns = []
    for cue, agreeing in enumerate(_AGREE):
        # Classes alternate among the disagreeing patterns, which start elsewhere for each cue.
        flip = (np.arange(10) + 3 * cue) % 10 >= agreeing
        columns.append(y ^ flip)
    return np.stack(columns, axis=1), y
