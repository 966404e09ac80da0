"""Your own data as a Dataset: arrays from an .npz file, or images from IDX files.

In the configuration, `[data] name = "my_data:load"` names your own function `load` in
my_data.py. It takes (root, **keys) and returns `Dataset.of(...)` or the result of a
function below.
"""

import os
import struct
import zipfile
import zlib
from math import prod
from pathlib import Path
from tokenize import TokenError

import numpy as np

from fedmpi.arrays import AnyArray
from fedmpi.errors import DataError, MissingDataError
from fedmpi.learn.data import idx
from fedmpi.learn.data.dataset import Dataset

# The exceptions that numpy and zipfile raise on files that are damaged or of another format.
FAULTS = (
    OSError, ValueError, EOFError, LookupError, AttributeError, TypeError, SyntaxError,
    ArithmeticError, MemoryError, RecursionError, NotImplementedError, RuntimeError,
    TokenError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip
_NEEDED = ("x_train", "y_train", "x_test", "y_test")


def from_npz(path: Path | str, kind: str, classes: int) -> Dataset:
    """Return the Dataset in an .npz file with x_train, y_train, x_test, y_test.

    The file may also hold `groups_train` and `groups_test`. Raises DataError if the file is
    unusable. That includes object arrays, since reading them would run a pickle.
    """
    try:
        _check_sizes(path)
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
    except FAULTS as error:
        raise DataError(f"{path}: cannot be read as .npz: {str(error)[:200]}") from None
    if missing := [name for name in _NEEDED if name not in found]:
        raise DataError(f"{path}: has no array {', '.join(missing)}; needed: {', '.join(_NEEDED)}")
    return Dataset.of(
        Path(path).stem, kind, (found["x_train"], found["y_train"]),
        (found["x_test"], found["y_test"]), classes,
        (found.get("groups_train"), found.get("groups_test")),
    )


def _check_sizes(path: Path | str) -> None:
    """Raise ValueError unless each array of a .npz has the size that its header claims.

    numpy would allocate the memory first, and only then find that the file holds less.
    """
    most = idx.DEFLATE_RATIO * os.path.getsize(path)
    with zipfile.ZipFile(path) as file:
        for member in file.infolist():
            with file.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                reads = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}
                if version not in reads:
                    raise ValueError(f"{member.filename} has the unknown version {version}")
                shape, _, dtype = getattr(np.lib.format, reads[version])(stream)
                size = stream.tell() + prod(shape) * dtype.itemsize
            most -= size
            if size != member.file_size or most < 0 or min(shape, default=0) < 0:
                raise ValueError(f"{member.filename} claims {size:,} bytes, more than it can hold")


def from_idx(folder: Path | str, classes: int) -> Dataset:
    """Return the grey images in a folder that has the four files of MNIST, `.gz` or plain."""
    train, test = (_idx_half(folder, part) for part in ("train", "t10k"))
    return Dataset.of(Path(folder).name, "image", train, test, classes)


def _idx_half(folder: Path | str, part: str) -> tuple[AnyArray, AnyArray]:
    """Return x uint8[N, 1, H, W] and y uint8[N] from one pair of files."""
    x = idx.read(_either(folder, f"{part}-images-idx3-ubyte"), (None, None, None), "uint8")
    y = idx.read(_either(folder, f"{part}-labels-idx1-ubyte"), (len(x),), "uint8")
    return x[:, None], y


def _either(folder: Path | str, name: str) -> Path:
    for path in (Path(folder, name + ".gz"), Path(folder, name)):
        if path.is_file():
            return path
    raise MissingDataError(f"{folder}: no file {name}.gz or {name}")
