"""Your own data: arrays from an .npz file, or a pair of IDX files, as a Dataset.

In the configuration, `[data] name = "my_data:load"` names a function of yours in
my_data.py that takes (root, options, cache) and returns `Dataset.of(...)` or one of these.
"""

import zipfile
from pathlib import Path

import numpy as np

from fedmpi.errors import DataError
from fedmpi.learn.data import idx
from fedmpi.learn.data.dataset import Dataset

_NEEDED = ("x_train", "y_train", "x_test", "y_test")


def from_npz(path, kind, classes):
    """Return the Dataset in an .npz file with x_train, y_train, x_test, y_test.

    `groups_train` and `groups_test` may be there too. Object arrays are refused, since to
    read them is to run a pickle. Raises DataError with what is wrong.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(f"{path}: cannot be read as .npz: {error}") from None
    if missing := [name for name in _NEEDED if name not in found]:
        raise DataError(f"{path}: has no array {', '.join(missing)}; needed: {', '.join(_NEEDED)}")
    return Dataset.of(
        Path(path).stem, kind, (found["x_train"], found["y_train"]),
        (found["x_test"], found["y_test"]), classes,
        (found.get("groups_train"), found.get("groups_test")),
    )


def from_idx(folder, classes):
    """Return the grey images of a folder with the four files of MNIST, `.gz` or plain."""
    parts = []
    for part in ("train", "t10k"):
        x = idx.read(_either(folder, f"{part}-images-idx3-ubyte"), (None, None, None), "uint8")
        y = idx.read(_either(folder, f"{part}-labels-idx1-ubyte"), (len(x),), "uint8")
        parts.append((x[:, None], y))
    return Dataset.of(Path(folder).name, "image", *parts, classes=classes)


def _either(folder, name):
    for path in (Path(folder, name + ".gz"), Path(folder, name)):
        if path.is_file():
            return path
    raise DataError(f"{folder}: no file {name}.gz or {name}")
