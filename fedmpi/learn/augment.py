"""Data augmentation: training images are shifted and mirrored each time they are used."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from fedmpi.arrays import AnyArray, Integers
from fedmpi.errors import ConfigError
from fedmpi.learn.data.dataset import Dataset

_Lines: TypeAlias = Callable[
    [tuple[int, ...], int, np.random.Generator], tuple[Integers, Integers]
]

PAD = 4  # pixels on all sides


def lines_of(
    shape: tuple[int, ...], count: int, rng: np.random.Generator
) -> tuple[Integers, Integers]:
    """Return the source rows and columns of `count` randomly shifted and mirrored images.

    An image is padded by 4 pixels on all sides by reflection, cropped to its old size at a
    uniformly drawn position, and mirrored left to right with probability 1/2, as in the code of
    Yu et al. (arXiv:2106.06921, both versions; the second also pads with zeros once more).

    Parameters
    ----------
    shape : (C, H, W)
        H and W are 5 or more.
    count : int
    rng : numpy.random.Generator
        `count` shifts are drawn, then as many flips.

    Returns
    -------
    int64[count, H], int64[count, W]
        The rows and columns for `moved`.
    """
    moves = rng.integers(-PAD, PAD + 1, (2, count))
    mirrored = rng.integers(0, 2, count) == 1
    rows, columns = _places(moves[0], shape[1]), _places(moves[1], shape[2])
    columns[mirrored] = columns[mirrored, ::-1]
    return rows, columns


def moved(x: AnyArray, rows: Integers, columns: Integers) -> AnyArray:
    """Return float32[n, C, H, W]: the images x at the rows and columns from `lines_of`."""
    places = np.arange(len(x))[:, None, None, None], np.arange(x.shape[1])[:, None, None]
    return x[*places, rows[:, None, :, None], columns[:, None, None]]


def _places(moves: Integers, size: int) -> Integers:
    """Return int64[n, size]: the source line of each line, reflected at the edges."""
    lines = np.abs(np.arange(size) + moves[:, None])
    found: Integers = np.where(lines < size, lines, 2 * (size - 1) - lines)
    return found


def augmentation_of(name: str | bool, dataset: Dataset) -> _Lines | None:
    """Return the function that [data] `augment` names, `lines_of`; None for False.

    Raises ConfigError if the samples are not images, or too small for the reflection.
    """
    if not name:
        return None
    shape = dataset.x_train.shape[1:]
    if dataset.kind != "image" or min(shape[1:]) <= PAD:
        found = "x".join(map(str, shape)) if dataset.kind == "image" else dataset.kind
        raise ConfigError(
            f"data.augment = {name!r}: takes images of {PAD + 1}x{PAD + 1} or more, and "
            f"{dataset.name} has {found}; use augment = false"
        )
    return {"crop-flip": lines_of}[str(name)]
