"""Targets that are not classes: labels, numbers and tokens."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from fedmpi.arrays import AnyArray, Integers
from fedmpi.errors import DataError
from fedmpi.learn.data.conversion import Half, array_of
from fedmpi.learn.losses import TARGETS


def taken_apart(
    target: str, train: Half, test: Half | None, place: str
) -> tuple[tuple[AnyArray | None, AnyArray | None], Half, Half | None]:
    """Return ((targets of train, of test), train, test), with a class for each sample in y.

    `train` and `test` are (x, y); test may be None. If the targets are classes, train and test are
    returned unchanged, and the targets are None.
    """
    if target == "class":
        return (None, None), train, test
    here = checked(target, train[1], place)
    train = train[0], strata(target, here)
    if test is None:
        return (here, None), train, None
    there = checked(target, test[1], place)
    return (here, there), train, (test[0], strata(target, there))


def checked(target: str, y: ArrayLike, place: str) -> AnyArray:
    """Return `y` as an array of the type that `target` requires; raise DataError if unsuitable."""
    if target not in TARGETS:
        raise DataError(f"{place}: target {target!r} must be one of {', '.join(TARGETS)}")
    y = array_of(y, place)
    if target == "tokens":
        if y.ndim != 2 or y.dtype.kind not in "iu":
            found = f"{y.dtype}{list(y.shape)}"
            raise DataError(f"{place}: is {found}; tokens are whole numbers [N, T]")
        return y.astype(np.int64)
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or y.dtype.kind not in "biuf":
        raise DataError(f"{place}: is {y.dtype}{list(y.shape)}; {target} are numbers [N, outputs]")
    y = y.astype(np.float32)
    if not (finite := np.isfinite(y).all(axis=1)).all():
        raise DataError(f"{place}: of sample {int(np.argmin(finite))} holds NaN or infinity")
    if target == "labels" and not (known := np.isin(y, (0, 1)).all(axis=1)).all():
        raise DataError(f"{place}: of sample {int(np.argmin(known))}: labels are 0 or 1")
    return y


def strata(target: str, targets: AnyArray) -> Integers:
    """Return int64[N]: the classes by which a partition splits samples with other targets.

    The class is the first label that is 1, the last token, or 0 for all numbers.
    """
    if target == "tokens":
        return targets[:, -1].copy()
    return targets.argmax(axis=1) if target == "labels" else np.zeros(len(targets), np.int64)


def check_outputs(name: str, targets: Iterable[AnyArray | None], classes: int) -> None:
    """Raise DataError unless arrays of targets have `classes` outputs, or tokens below it."""
    for found in targets:
        if found is None or not len(found):
            continue
        if found.dtype.kind == "f" and found.shape[1] != classes:
            raise DataError(
                f"{name}: y has {found.shape[1]} values a sample, and classes = {classes}; "
                "give as many"
            )
        if found.dtype.kind == "i" and not 0 <= found.min() <= found.max() < classes:
            raise DataError(f"{name}: tokens must be from 0 to {classes - 1}")
