"""SVHN: 73,257 + 26,032 house numbers of 32x32 in ten classes, and 531,131 easier images.

Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu, A. Y. Ng, "Reading Digits in Natural Images with
Unsupervised Feature Learning", NIPS workshop 2011; for non-commercial use only.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedmpi.arrays import Integers, Octets
from fedmpi.errors import DataError
from fedmpi.learn.data import checksums, files
from fedmpi.learn.data.dataset import Dataset


def svhn(root: Path | None, options: Mapping[str, Any], cache: Path | None = None) -> Dataset:
    """Return SVHN from `root`/svhn; option extra: train on the easier images too."""
    known = dict(files.SVHN)
    if not options["extra"]:
        del known["svhn/extra_32x32.mat"]
    paths = checksums.verify("svhn", root, known, cache)
    parts = {path: read(found) for path, found in paths.items()}
    test = parts.pop("svhn/test_32x32.mat")
    x, y = (np.concatenate(arrays) for arrays in zip(*parts.values(), strict=True))
    return Dataset.of("svhn", "image", (x, y), test, classes=10)


def read(path: Path) -> tuple[Octets, Integers]:
    """Return x uint8[N, 3, 32, 32] and y int64[N] of a Matlab file, in which class 0 is 10.

    Raises DataError if the file cannot be read, or lacks X or y, or scipy is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        raise DataError(f"{path}: reading it needs scipy: pip install 'fedmpi[data]'") from None
    try:
        found = loadmat(path, variable_names=("X", "y"))
        x, y = found["X"], found["y"].reshape(-1).astype(np.int64)
    except Exception as error:  # scipy's parser may raise any exception
        raise DataError(f"{path}: cannot be read as Matlab's format 5: {error}") from None
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[:3] != (32, 32, 3):
        raise DataError(f"{path}: X is {x.dtype}{list(x.shape)}, must be uint8[32, 32, 3, N]")
    return np.ascontiguousarray(x.transpose(3, 2, 0, 1)), y % 10
