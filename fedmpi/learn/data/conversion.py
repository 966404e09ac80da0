"""Conversion of users' arrays to the types that a Dataset stores, from float images for example.

Nothing is guessed: an array that can be read in two ways is not converted, and `Dataset.of`
rejects it.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from fedmpi.arrays import AnyArray, Integers
from fedmpi.errors import DataError, listed

Half: TypeAlias = tuple[ArrayLike, ArrayLike]
"""x and y of the training samples, or of the test samples."""
_Arrays: TypeAlias = tuple[AnyArray, AnyArray]
_Groups: TypeAlias = tuple[AnyArray | None, AnyArray | None]
TOKENS = (np.uint8, np.int32)  # types of a text's tokens; the smallest that holds them is used


def parts_of(
    name: str, kind: str, train: Half, test: Half | None, classes: int,
    groups: tuple[ArrayLike | None, ArrayLike | None],
) -> tuple[_Arrays, _Arrays, _Groups]:
    """Return (train, test, groups) as arrays: pairs of x and y, and the groups or None.

    `test` may be None, for no test set. `Dataset.of` documents the accepted arguments.
    """
    x, y = array_of(train[0], f"{name}: train: x"), _flat(train[1], f"{name}: train: y")
    x_test, y_test = x[:0], y[:0]
    if test is not None:
        x_test, y_test = array_of(test[0], f"{name}: test: x"), _flat(test[1], f"{name}: test: y")
    if len(x_test) == 0:
        x_test, y_test = x[:0], y[:0]
    y, y_test = _numbered(name, y, y_test, classes)
    given, held = (None if group is None else _flat(group, f"{name}: groups") for group in groups)
    stored = {"image": _pixels, "features": _numbers, "text": _tokens}.get(kind, _as_it_is)
    return (stored(x), y), (stored(x_test), y_test), _grouped(name, given, held)


def check_pairs(name: str, train: Any, test: Any, groups: Any) -> None:
    """Raise DataError unless the arguments of `Dataset.of` are pairs; `test` may be None."""
    wanted = {"train": (train, "(x, y)"), "test": (test, "(x, y), or None"),
              "groups": (groups, "(those of train, those of test)")}
    for word, (found, pair) in wanted.items():
        fits = isinstance(found, tuple | list) and len(found) == 2
        if not fits and not (word == "test" and found is None):
            shape = getattr(found, "shape", None)
            size = f" of shape {list(shape)}" if shape is not None else ""
            raise DataError(f"{name}: {word} is of type {type(found).__name__}{size}; give the "
                            f"pair {pair}")


def whole(number: Any, place: str) -> int:
    """Return `number` as an int; raise DataError, beginning with `place`, unless it is 1, 2, ..."""
    try:
        if number == int(number) >= 1:
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise DataError(f"{place}: is {number!r}; give a whole number from 1")


def check_numbers(what: str, found: AnyArray, kinds: str) -> None:
    """Raise DataError unless an array has one axis and one of the `kinds` of integers."""
    if found.ndim != 1 or found.dtype.kind not in kinds:
        raise DataError(f"{what} are {found.dtype}{list(found.shape)}; give whole numbers that "
                        f"int64 holds, or texts, [N]{_first_other(what, found)}")


def _first_other(what: str, found: AnyArray) -> str:
    """Return the end of a message: the first value that is no label, or advice on rows of labels.

    It is empty if no single value is to blame.
    """
    if found.ndim == 2 and what.endswith("labels"):
        return ' (y.argmax(axis=1) of one-hot rows; target="labels" if several may be 1)'
    if found.ndim != 1 or found.dtype.kind not in "fO":
        return ""
    floats = found.dtype.kind == "f"
    for row, one in enumerate(found.tolist()):
        if one != one // 1 if floats else not isinstance(one, str):  # NaN // 1 is NaN, unequal
            return f"; sample {row} has {one!r}"
    return ""


def array_of(values: ArrayLike, place: str) -> AnyArray:
    """Return `values` as an array; raise DataError, beginning with `place`, if numpy cannot."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # the last for tensors of torch
        reason = str(error).partition("\n")[0]
        if "inhomogeneous" in reason:
            reason = "its samples have different shapes; pad or cut them to one shape"
        raise DataError(f"{place}: is no array: {reason}") from None


def first_object(x: AnyArray) -> str:
    """Return the end of a message on objects [N, ...]: the first that is no number, else ""."""
    for place in np.ndindex(x.shape) if x.dtype.kind == "O" else ():
        if not isinstance(x[place], int | float | np.number):
            column = f" has {x[place]!r} in column {', '.join(map(str, place[1:]))}"
            return f"; sample {place[0]}{column}"
    return ""


def _as_it_is(x: AnyArray) -> AnyArray:
    return x


def _flat(y: ArrayLike, place: str) -> AnyArray:
    """Return labels or groups as [N]: texts as numpy's strings, whole numbers as int64.

    `y` is [N] or [N, 1]. Other values, and numbers that int64 cannot hold, are not converted.
    """
    y = array_of(y, place)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.dtype.kind in "OT" and y.size and all(isinstance(one, str) for one in y.flat):
        return y.astype(np.str_)
    whole = y.dtype.kind in "bu" or (y.dtype.kind == "f" and np.array_equal(y, np.rint(y)))
    return y.astype(np.int64) if whole and (np.abs(y) < 2.0**63).all() else y


def _grouped(name: str, given: AnyArray | None, held: AnyArray | None) -> _Groups:
    """Return the groups of both halves as numbers; names are numbered alphabetically."""
    names = [of.dtype.kind in "US" for of in (given, held) if of is not None]
    if given is not None and held is not None and names[0] != names[1]:
        raise DataError(f"{name}: groups of training are {given.dtype}, of testing {held.dtype}; "
                        "give both as texts, or both as whole numbers")
    if not any(names):
        return given, held
    known = np.unique([] if held is None else held) if given is None else np.unique(given)
    there = None if held is None else _places(known, held)
    return None if given is None else _places(known, given), there


def _numbered(name: str, y: AnyArray, y_test: AnyArray, classes: int) -> _Arrays:
    """Return labels from 0: names numbered alphabetically, and 1 to `classes` reduced by one."""
    if y.dtype.kind in "US":
        names, found = np.unique(np.concatenate([y, y_test]), return_inverse=True)
        if len(names) != classes:
            raise DataError(f"{name}: {len(names)} names of labels, but classes is {classes}: "
                            f"{listed([*map(repr, names.tolist())], 8)}; give as many classes as "
                            "names, or labels as numbers, of which some may be missing")
        return found[: len(y)], found[len(y) :]
    if y.dtype.kind in "iu" and y.ndim == 1 and len(y) and y_test.dtype.kind in "iu":
        together = np.concatenate([y, y_test])
        if together.min() >= 1 and together.max() == classes:
            return y.astype(np.int64) - 1, y_test.astype(np.int64) - 1
    return y, y_test


def _places(known: AnyArray, names: AnyArray) -> Integers:
    """Return each name's index in the sorted `known`; new names get len(known) and more."""
    everyone = np.concatenate([known, np.setdiff1d(names, known)])
    order = np.argsort(everyone, kind="stable")
    return order[np.searchsorted(everyone, names, sorter=order)]


def _pixels(x: AnyArray) -> AnyArray:
    """Return uint8[N, C, H, W]; floats from 0 to 1 are rounded to 1/255, [N, H, W] gets C = 1."""
    if x.dtype.kind == "f" and x.size and x.min() >= 0 and x.max() <= 1:
        x = np.rint(x * x.dtype.type(255)).astype(np.uint8)
    elif x.dtype.kind == "f" and not x.size:
        x = x.astype(np.uint8)
    return x[:, None] if x.ndim == 3 else x


def _numbers(x: AnyArray) -> AnyArray:
    """Return numbers of any type as float32; numbers that are too large become infinite."""
    with np.errstate(over="ignore"):
        return x.astype(np.float32) if x.dtype.kind in "biuf" else x


def _tokens(x: AnyArray) -> AnyArray:
    """Return whole numbers from 0 in the smallest type of TOKENS that holds them."""
    if x.dtype.kind not in "iu" or (x.size and x.min() < 0):
        return x
    most = int(x.max(initial=0))
    fits = [dtype for dtype in TOKENS if most <= np.iinfo(dtype).max]
    return x.astype(fits[0]) if fits else x
