"""What every data set looks like to the rest of the program."""

from dataclasses import dataclass, fields

import numpy as np

from fedmpi.errors import DataError
from fedmpi.learn.data.conversion import TOKENS, parts_of

KINDS = {  # types and numbers of axes of x, as stored, and what is accepted
    "image": ((np.uint8,), (4,), "uint8 with 4, or floats from 0 to 1"),
    "features": ((np.float32,), (2, 3), "numbers with 2 or 3"),
    "text": (TOKENS, (2,), "whole numbers from 0 with 2"),
}
_ARRAYS = ("x_train", "y_train", "x_test", "y_test", "groups_train", "groups_test")
_CHUNK = 4096  # images at a time, so that squares need little memory


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples for training and testing; the arrays are read-only and may be shared.

    Attributes
    ----------
    name : str
    kind : str
        "image": x is uint8[N, C, H, W]; "features": float32[N, D] or [N, T, D];
        "text": uint8 or int32[N, T], numbers of characters or words, and y is the next.
    x_train, x_test : array
    y_train, y_test : int64[N]
        The class of each sample, 0 to classes - 1.
    classes : int
    groups_train, groups_test : int64[N] or None
        The natural client (writer, role) of each sample, if there is one.
    mean, std : tuple of float or None
        Of each channel of x_train / 255, for images.
    """

    name: str
    kind: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int
    groups_train: np.ndarray | None = None
    groups_test: np.ndarray | None = None
    mean: tuple | None = None
    std: tuple | None = None

    def arrays(self):
        """Return the arrays by name, without those that are None: what ranks may share."""
        found = {name: getattr(self, name) for name in _ARRAYS}
        return {name: array for name, array in found.items() if array is not None}

    def facts(self):
        """Return everything but the arrays, as plain values that a message can carry."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _ARRAYS}

    @classmethod
    def rebuild(cls, facts, arrays):
        """Return the data set of `facts()` around other copies of `arrays()`, made read-only."""
        for array in arrays.values():
            array.setflags(write=False)
        return cls(**facts, **arrays)

    @classmethod
    def of(cls, name, kind, train, test, classes, groups=(None, None)):
        """Check arrays and return them as a data set, with mean and std if they are images.

        Parameters
        ----------
        name, kind, classes
            As in the attributes.
        train, test : pair of arrays
            x and y, arrays or what numpy can make arrays of, torch tensors for example. Images
            may be [N, H, W], and floats from 0 to 1, which become whole 255ths. y may be of any
            integer type, of booleans, of floats without a fraction, [N] or [N, 1], or of texts,
            which are numbered in the order of the alphabet; numbers from 1 to `classes` become
            those from 0. Without samples, or None, the test set switches evaluation off.
        groups : pair of arrays or None
            Natural clients of the training and the test samples: numbers, or texts.

        Raises
        ------
        DataError
            If the arrays do not fit together, or a label is outside 0 to classes - 1.
        """
        train, test, groups = parts_of(name, kind, train, test, classes, groups)
        for part, (x, y), group in zip(("train", "test"), (train, test), groups):
            _check(f"{name}: {part}", kind, x, y, classes, group)
        arrays = {"x_train": train[0], "y_train": train[1], "x_test": test[0], "y_test": test[1]}
        arrays |= {"groups_train": groups[0], "groups_test": groups[1]}
        arrays = {key: _as_stored(key, array) for key, array in arrays.items() if array is not None}
        facts = {"name": name, "kind": kind, "classes": int(classes)}
        if kind == "image":
            facts["mean"], facts["std"] = moments(arrays["x_train"])
        return cls.rebuild(facts, arrays)


def moments(x):
    """Return the mean and the standard deviation of each channel of x / 255.

    x is uint8[N, C, H, W]. The sums are of integers, so all machines agree on them.
    """
    total = np.zeros(x.shape[1], np.int64)
    squares = np.zeros(x.shape[1], np.int64)
    for start in range(0, len(x), _CHUNK):
        chunk = x[start : start + _CHUNK]
        total += chunk.sum(axis=(0, 2, 3), dtype=np.int64)
        squares += np.square(chunk, dtype=np.uint16).sum(axis=(0, 2, 3), dtype=np.int64)
    count = x.size // x.shape[1]
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    std[std < 1e-3] = 255.0  # of a channel that never changes: it stays as it is
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


def _as_stored(key, array):
    """Return a contiguous view: it becomes read-only, and the caller's array must not."""
    return np.ascontiguousarray(array, None if key.startswith("x") else np.int64).view()


def _check(place, kind, x, y, classes, group):
    if kind not in KINDS:
        raise DataError(f"{place}: kind {kind!r} must be one of {', '.join(KINDS)}")
    dtypes, ndims, wanted = KINDS[kind]
    if x.dtype not in dtypes or x.ndim not in ndims:
        raise DataError(
            f"{place}: x is {x.dtype} with {x.ndim} dimensions; kind {kind!r} needs {wanted}"
        )
    if kind == "image" and x.shape[3] <= 4 < x.shape[1]:
        raise DataError(
            f"{place}: x is {list(x.shape)}, which looks like [N, height, width, channels]; "
            "give [N, channels, height, width], as np.moveaxis(x, -1, 1) does"
        )
    finite = np.isfinite(x).all(axis=tuple(range(1, x.ndim)))
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError(f"{place}: x of sample {row} holds NaN or infinity; remove or replace it")
    empty = not len(x) and not place.endswith("test")
    if len(x) != len(y) or empty or (group is not None and len(group) != len(x)):
        raise DataError(f"{place}: {len(x)} samples, {len(y)} labels"
                        + ("" if group is None else f", {len(group)} group ids"))
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise DataError(f"{place}: labels are {y.dtype}{list(y.shape)}; give whole numbers [N]")
    if y.min(initial=0) < 0 or y.max(initial=0) >= classes:
        wrong = int(np.argmax((y < 0) | (y >= classes)))
        raise DataError(
            f"{place}: labels must be whole numbers from 0 to {classes - 1}; "
            f"sample {wrong} has {y[wrong]}"
        )
