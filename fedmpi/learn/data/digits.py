"""The embedded data set: 1,797 real handwritten digits of 8x8 pixels.

This is the test part of the UCI data set "Optical Recognition of Handwritten Digits" (E.
Alpaydin and C. Kaynak, 1998, doi:10.24432/C50P49, CC BY 4.0), as distributed with scikit-learn
(`sklearn.datasets.load_digits`, BSD-3-Clause). Pixels are whole numbers from 0 to 16.
C. Kaynak, "Methods of Combining Multiple Classifiers and Their Applications to
Handwritten Digit Recognition", MSc thesis, Bogazici University, 1995.
"""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from fedmpi.learn.data.dataset import Dataset


def digits(
    root: Path | None, options: Mapping[str, Any], cache: Path | None = None
) -> Dataset:
    """Return the embedded digits: 1,437 for training, 360 for testing; needs no files.

    The split is fixed: with samples sorted by class, and within a class as in the original
    file, every fifth sample from the first on is a test sample. So each class is tested
    with a fifth of its samples, give or take one. x is uint8[N, 1, 8, 8].
    """
    with (files(__package__) / "digits.npz").open("rb") as stream:
        stored = np.load(stream, allow_pickle=False)
        x, y = stored["images"][:, None], stored["labels"]
    test = np.zeros(len(y), bool)
    test[np.argsort(y, kind="stable")[::5]] = True
    return Dataset.of("digits", "image", (x[~test], y[~test]), (x[test], y[test]), classes=10)
