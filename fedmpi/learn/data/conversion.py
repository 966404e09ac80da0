"""What people have, as the types that a Dataset stores: images of floats, names as labels.

Nothing is guessed: what can be read in two ways is left as it is, and refused by `Dataset.of`.
"""

import numpy as np

from fedmpi.errors import DataError

TOKENS = (np.uint8, np.int32)  # the smallest that holds a text's numbers is taken


def parts_of(name, kind, train, test, classes, groups):
    """Return (train, test, groups) as arrays: pairs of x and y, and the groups or None.

    test may be None, for no test set. See `Dataset.of` for what is accepted.
    """
    x, y = np.asarray(train[0]), _flat(train[1])
    x_test, y_test = (x[:0], y[:0]) if test is None else (np.asarray(test[0]), _flat(test[1]))
    if len(x_test) == 0:
        x_test, y_test = x[:0], y[:0]
    y, y_test = _numbered(name, y, y_test, classes)
    given = None if groups[0] is None else np.asarray(groups[0])
    held = None if groups[1] is None else np.asarray(groups[1])
    if given is not None and given.dtype.kind in "US":
        known, given = np.unique(given, return_inverse=True)
        held = None if held is None else _places(known, held)
    stored = {"image": _pixels, "features": _numbers, "text": _tokens}.get(kind, _as_it_is)
    return (stored(x), y), (stored(x_test), y_test), (given, held)


def _as_it_is(x):
    return x


def _flat(y):
    """Return labels [N] of [N] or [N, 1], whole numbers for booleans and whole floats."""
    y = np.asarray(y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.dtype.kind == "b" or (y.dtype.kind == "f" and np.array_equal(y, np.rint(y))):
        return y.astype(np.int64)
    return y


def _numbered(name, y, y_test, classes):
    """Return labels from 0: of names in the order of the alphabet, of 1 to `classes` less one."""
    if y.dtype.kind in "US":
        names, found = np.unique(np.concatenate([y, y_test]), return_inverse=True)
        if len(names) != classes:
            raise DataError(f"{name}: {len(names)} names of labels, but classes is {classes}")
        return found[: len(y)], found[len(y) :]
    if y.dtype.kind in "iu" and y.ndim == 1 and len(y) and y_test.dtype.kind in "iu":
        together = np.concatenate([y, y_test])
        if together.min() >= 1 and together.max() == classes:
            return y.astype(np.int64) - 1, y_test.astype(np.int64) - 1
    return y, y_test


def _places(known, names):
    """Return the place of each name among the sorted `known`, len(known) and more if it is new."""
    everyone = np.concatenate([known, np.setdiff1d(names, known)])
    order = np.argsort(everyone, kind="stable")
    return order[np.searchsorted(everyone, names, sorter=order)]


def _pixels(x):
    """Return uint8[N, C, H, W] of floats from 0 to 1 (to the nearest 1/255) or [N, H, W]."""
    if x.dtype.kind == "f" and x.size and x.min() >= 0 and x.max() <= 1:
        x = np.rint(x * x.dtype.type(255)).astype(np.uint8)
    elif x.dtype.kind == "f" and not x.size:
        x = x.astype(np.uint8)
    return x[:, None] if x.ndim == 3 else x


def _numbers(x):
    """Return float32 of numbers of any type that float32 has room for."""
    return x.astype(np.float32) if x.dtype.kind in "biuf" else x


def _tokens(x):
    """Return whole numbers from 0 in the smallest type of TOKENS that holds them."""
    if x.dtype.kind not in "iu" or (x.size and x.min() < 0):
        return x
    most = int(x.max(initial=0))
    fits = [dtype for dtype in TOKENS if most <= np.iinfo(dtype).max]
    return x.astype(fits[0]) if fits else x
