"""CIFAR-100: 50,000 + 10,000 colour images of 32x32 in 100 classes, the "python version".

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report,
University of Toronto, 2009. No licence is stated; the authors ask to be cited.

A file is a pickle, and a pickle is a program. It is never run. Instead its instructions are
listed, and the pixels and labels are taken from their arguments.
"""

import pickletools
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from fedmpi.arrays import Integers, Octets
from fedmpi.errors import DataError
from fedmpi.learn.data import checksums, files
from fedmpi.learn.data.dataset import Dataset

CLASSES = {"fine": 100, "coarse": 20}
_PIXELS = 3 * 32 * 32
_TEXTS = ("BINSTRING", "SHORT_BINSTRING")
_NUMBERS = ("BININT1", "BININT", "BININT2")
_BETWEEN = ("EMPTY_LIST", "BINPUT", "LONG_BINPUT", "MARK", "APPENDS", "APPEND", *_NUMBERS)


def cifar100(
    root: Path | None, options: Mapping[str, Any], cache: Path | None = None
) -> Dataset:
    """Return CIFAR-100 from `root`/cifar-100/cifar-100-python; option labels: fine or coarse."""
    paths = checksums.verify("cifar100", root, files.CIFAR100, cache)
    train, test = (read(path, options["labels"]) for path in paths.values())
    return Dataset.of("cifar100", "image", train, test, classes=CLASSES[options["labels"]])


def read(path: Path, labels: str = "fine") -> tuple[Octets, Integers]:
    """Return x uint8[N, 3, 32, 32] and y int64[N] of one file.

    Raises DataError if the pixels or the labels are missing, or do not fit together.
    """
    try:
        listed = [(code.name, value) for code, value, _ in pickletools.genops(path.read_bytes())]
    except (ValueError, KeyError, IndexError) as error:
        raise DataError(f"{path}: its list of instructions breaks off ({error})") from None
    texts = [str(value) for name, value in listed if name in _TEXTS]
    pixels = max(texts, key=len, default="").encode("latin-1")
    y = _numbers_after(listed, f"{labels}_labels")
    if len(pixels) != len(y) * _PIXELS or not len(y):
        raise DataError(
            f"{path}: {len(y):,} {labels} labels and {len(pixels):,} bytes of pixels, not "
            f"{_PIXELS:,} for each; it is not a file of CIFAR-100"
        )
    return np.frombuffer(pixels, np.uint8).reshape(-1, 3, 32, 32), y


def _numbers_after(listed: Sequence[tuple[str, Any]], key: str) -> Integers:
    """Return int64[n]: the whole numbers of the list that follows the text `key`."""
    place = next((i for i, one in enumerate(listed) if one == ("SHORT_BINSTRING", key)), None)
    following = listed[place + 2 :] if place is not None else []  # behind the key's memo
    of_list = takewhile(lambda one: one[0] in _BETWEEN, following)
    return np.array([value for name, value in of_list if name in _NUMBERS], np.int64)
