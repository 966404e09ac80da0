"""The Dataset, the form in which the rest of the program sees every data set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fedmpi.arrays import AnyArray, Integers
from fedmpi.errors import DataError
from fedmpi.learn.data.conversion import (
    TOKENS,
    Half,
    check_numbers,
    check_pairs,
    first_object,
    parts_of,
    whole,
)
from fedmpi.learn.data.targets import check_outputs, taken_apart

KINDS = {  # the types and numbers of axes of x as stored, and the accepted input in words
    "image": ((np.uint8,), (4,), "uint8 with 4, or floats from 0 to 1 (fedmpi normalises)"),
    "features": ((np.float32,), (2, 3), "numbers with 2 or 3"),
    "text": (TOKENS, (2,), "whole numbers from 0 with 2"),
}
_ARRAYS = (
    "x_train", "y_train", "x_test", "y_test", "groups_train", "groups_test", "targets_train",
    "targets_test",
)  # fmt: skip
_NOT_FACTS = (*_ARRAYS, "on_demand")
_CHUNK = 4096  # images whose squares are computed at a time, to save memory


class OnDemand(NamedTuple):
    """Training samples that are drawn when their client trains, and discarded afterwards.

    Attributes
    ----------
    sizes : callable
        sizes(clients) -> int[clients], the number of samples of each client.
    draw : callable
        draw(client, size) -> (x, y), `size` samples in new arrays. They must be the same at every
        call and on every rank.
    """

    sizes: Callable[[int], Integers]
    draw: Callable[[int, int], tuple[AnyArray, Integers]]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples for training and testing; the arrays are read-only and may be shared.

    Attributes
    ----------
    name : str
    kind : str
        "image": x is uint8[N, C, H, W]; "features": float32[N, D] or [N, T, D];
        "text": uint8 or int32[N, T], numbers of characters or words, and y is the next one.
    x_train, x_test : array
    y_train, y_test : int64[N]
        The class of each sample, 0 to classes - 1. For targets of another kind: the first label
        that is 1, 0 for numbers, or the last token.
    classes : int
        The number of outputs of a model: of classes, labels, numbers, or distinct tokens.
    groups_train, groups_test : int64[N] or None
        The natural client (writer, role) of each sample, if there is one.
    mean, std : tuple of float or None
        For images, of each channel of x_train / 255; of x_test if samples are drawn on demand.
    target : str
        The kind of targets that outputs are compared with, one of losses.TARGETS. "class" is y.
    targets_train, targets_test : float32[N, classes], int64[N, T] or None
        The targets, if they are of another kind.
    on_demand : OnDemand or None
        The source of training samples that are drawn on demand; x_train and y_train are then empty.
    """

    name: str
    kind: str
    x_train: AnyArray
    y_train: Integers
    x_test: AnyArray
    y_test: Integers
    classes: int
    groups_train: Integers | None = None
    groups_test: Integers | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    target: str = "class"
    targets_train: AnyArray | None = None
    targets_test: AnyArray | None = None
    on_demand: OnDemand | None = None

    def __post_init__(self) -> None:
        """Raise DataError if test samples have another shape, since kernels check no bounds."""
        here, there = self.x_train.shape[1:], self.x_test.shape[1:]
        if self.kind != "text" and here != there:
            raise DataError(
                f"{self.name}: a sample for training is {list(here)}, one for testing is "
                f"{list(there)}; give both the same shape"
            )

    def arrays(self) -> dict[str, AnyArray]:
        """Return the arrays by name, without those that are None; ranks may share them."""
        found = {name: getattr(self, name) for name in _ARRAYS}
        return {name: array for name, array in found.items() if array is not None}

    def facts(self) -> dict[str, Any]:
        """Return everything but the arrays, as plain values that a message can carry."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_FACTS}

    @classmethod
    def rebuild(
        cls, facts: Mapping[str, Any], arrays: Mapping[str, AnyArray],
        on_demand: OnDemand | None = None,
    ) -> "Dataset":
        """Return the data set of `facts()` with other copies of `arrays()`, made read-only."""
        for array in arrays.values():
            array.setflags(write=False)
        given: dict[str, Any] = {**facts, **arrays}
        return cls(**given, on_demand=on_demand)

    @classmethod
    def of(
        cls, name: str, kind: str, train: Half, test: Half | None, classes: int,
        groups: tuple[ArrayLike | None, ArrayLike | None] = (None, None), target: str = "class",
    ) -> "Dataset":
        """Return a data set of the given arrays after checking them; images get mean and std.

        Parameters
        ----------
        name, kind, classes
            As in the attributes.
        train, test : pair of arrays
            x and y, arrays or objects that numpy converts to arrays, such as torch tensors.
            Images may be [N, H, W], and floats from 0 to 1, which are rounded to 1/255. y is [N]
            or [N, 1] of any integer type, booleans, whole floats, or texts, which are numbered
            alphabetically. Labels from 1 to `classes` are reduced by one. If test is None or has
            no samples, evaluation is switched off.
        groups : pair of arrays or None
            Natural clients of the training and the test samples: numbers, or texts.
        target : str
            The kind of y: "class"; "labels", 0 or 1 [N, classes]; "numbers", [N] or
            [N, classes]; "tokens", whole numbers [N, T].

        Raises
        ------
        DataError
            If the arrays do not fit together, or a label is not from 0 to classes - 1.
        """
        check_pairs(name, train, test, groups)
        classes = whole(classes, f"{name}: classes")
        targets, here, there = taken_apart(target, train, test, f"{name}: y")
        (x, y), (x_test, y_test), parted = parts_of(name, kind, here, there, classes, groups)
        _check(f"{name}: train", kind, x, y, classes, parted[0])
        if not len(x):
            raise DataError(f"{name}: train: 0 samples, 0 labels; give at least one sample")
        _check(f"{name}: test", kind, x_test, y_test, classes, parted[1])
        check_outputs(name, targets, classes)
        given: dict[str, AnyArray | None]
        given = {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}
        given |= {"groups_train": parted[0], "groups_test": parted[1]}
        given |= {"targets_train": targets[0], "targets_test": targets[1]}
        arrays = {key: _as_stored(key, array) for key, array in given.items() if array is not None}
        facts = {"name": name, "kind": kind, "classes": classes, "target": target}
        if kind == "image":
            facts["mean"], facts["std"] = moments(arrays["x_train"])
        return cls.rebuild(facts, arrays)

    @classmethod
    def drawn(
        cls, name: str, kind: str, on_demand: OnDemand, test: Half, classes: int,
        group_test: ArrayLike,
    ) -> "Dataset":
        """Return a data set whose clients draw their training samples when they train.

        Parameters
        ----------
        name, kind, classes
            As in the attributes.
        on_demand : OnDemand
        test : pair of arrays
            x and y, as for `of`. The samples of all clients must have the same form.
        group_test : int array
            The client of each test sample.

        Raises
        ------
        DataError
            As for `of`.
        """
        given = cls.of(name, kind, test, test, classes, (group_test, group_test))
        arrays = given.arrays()
        for part in ("x_train", "y_train", "groups_train"):
            arrays[part] = arrays[part][:0]
        return cls.rebuild(given.facts(), arrays, on_demand)

    def client(self, client: int, size: int) -> tuple[AnyArray, Integers]:
        """Return (x, y) of a client whose samples are drawn on demand, drawn now and checked.

        Raises DataError unless there are `size` samples of the same form as the test samples.
        """
        if self.on_demand is None:
            raise DataError(f"{self.name}: its clients draw no samples; see Dataset.drawn")
        x, y = self.on_demand.draw(client, size)
        place = f"{self.name}: client {client}"
        _check(place, self.kind, x, y, self.classes, None)
        if len(y) != size or x.shape[1:] != self.x_test.shape[1:]:
            raise DataError(
                f"{place}: drew {list(x.shape)}, must be {[size, *self.x_test.shape[1:]]}; let "
                "draw(client, size) return `size` samples like those of the test set"
            )
        return x, y


def moments(x: AnyArray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of each channel of x / 255.

    x is uint8[N, C, H, W]. Integers are summed, so the result is the same on all machines.
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
    std[std < 1e-3] = 255.0  # a constant channel is not scaled: its std becomes 1
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


def _as_stored(key: str, array: AnyArray) -> AnyArray:
    """Return a contiguous view; making it read-only leaves the caller's array writable."""
    kept = key.startswith(("x", "targets"))
    return np.ascontiguousarray(array, None if kept else np.int64).view()


def _check(
    place: str, kind: str, x: AnyArray, y: AnyArray, classes: int, group: AnyArray | None
) -> None:
    """Raise DataError for samples, labels or groups that no data set can have."""
    _check_samples(place, kind, x)
    if len(x) != len(y) or (group is not None and len(group) != len(x)):
        ids = "" if group is None else f", {len(group)} group ids"
        raise DataError(f"{place}: {len(x)} samples, {len(y)} labels{ids}; give a label"
                        f"{' and a group id' if ids else ''} for each sample")
    check_numbers(f"{place}: labels", y, "iu")
    if group is not None:
        check_numbers(f"{place}: groups", group, "i")
    if y.min(initial=0) < 0 or y.max(initial=0) >= classes:
        wrong = int(np.argmax((y < 0) | (y >= classes)))
        raise DataError(
            f"{place}: labels must be whole numbers from 0 to {classes - 1}; "
            f"sample {wrong} has {y[wrong]}"
        )


def _check_samples(place: str, kind: str, x: AnyArray) -> None:
    """Raise DataError for samples that are none of their kind."""
    if kind not in KINDS:
        raise DataError(f"{place}: kind {kind!r} must be one of {', '.join(KINDS)}")
    if x.dtype.kind == "f" and x.ndim > 1:
        _check_finite(place, x)
    dtypes, ndims, wanted = KINDS[kind]
    if x.dtype not in dtypes or x.ndim not in ndims:
        span = f", from {x.min():g} to {x.max():g}" if x.dtype.kind == "f" and x.size else ""
        raise DataError(
            f"{place}: x is {x.dtype} with {x.ndim} dimensions{span}; kind {kind!r} needs {wanted}"
            + (first_object(x) if x.ndim > 1 else "")
        )
    if kind == "image" and x.shape[3] <= 4 < x.shape[1]:
        raise DataError(
            f"{place}: x is {list(x.shape)}, which looks like [N, height, width, channels]; "
            "give [N, channels, height, width], as np.moveaxis(x, -1, 1) does"
        )
    if len(x) and not x.size:
        raise DataError(f"{place}: x is {list(x.shape)}, so its samples hold no values")


def _check_finite(place: str, x: AnyArray) -> None:
    """Raise DataError, with the first such sample, if numbers [N, ...] are not all finite."""
    finite = np.isfinite(x).all(axis=tuple(range(1, x.ndim)))
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError(f"{place}: x of sample {row} holds NaN or infinity, or a "
                        "number too large for float32; remove or replace it")
