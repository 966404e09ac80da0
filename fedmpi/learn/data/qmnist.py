"""MNIST grouped by the writers of the digits: 539 writers for training, 297 for testing.

The writers are those of the QMNIST extended labels (C. Yadav, L. Bottou, "Cold Case: The
Lost MNIST Digits", NeurIPS 2019, arXiv:1905.10498; BSD-style licence). Row i of the training
file describes MNIST's training digit i; rows 0 to 9,999 of the test file, its test digits.
No writer is in both parts, so each test writer is new to the model.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fedmpi.arrays import AnyArray, Integers
from fedmpi.errors import DataError
from fedmpi.learn.data import checksums, files, idx
from fedmpi.learn.data.dataset import Dataset
from fedmpi.learn.data.images import mnist

_CLASS, _WRITER = 0, 2  # columns of the extended labels


def mnist_writers(
    root: Path | None, options: Mapping[str, Any], cache: Path | None = None
) -> Dataset:
    """Return MNIST, whose groups are the NIST writer ids of the digits; no options.

    Reads `root`/mnist and `root`/qmnist-labels.
    """
    data = mnist(root, options, cache)
    paths = checksums.verify("mnist-writers", root, files.QMNIST, cache)
    train, test = (idx.read(path, (60_000, 8), "int32") for path in
                   (paths[f"qmnist-labels/qmnist-{part}-labels-idx2-int.gz"]
                    for part in ("train", "test")))
    groups = _writers(train, data.y_train), _writers(test[:10_000], data.y_test)
    return replace(data, name="mnist-writers", groups_train=groups[0], groups_test=groups[1])


def _writers(rows: AnyArray, labels: Integers) -> Integers:
    """Return int64[N], the writer column of rows int32[N, 8], after checking the classes."""
    if not np.array_equal(rows[:, _CLASS], labels):
        raise DataError("mnist-writers: the classes of the QMNIST labels are not those of MNIST")
    writers = rows[:, _WRITER].astype(np.int64)
    writers.setflags(write=False)
    return writers
