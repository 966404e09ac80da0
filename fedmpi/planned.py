"""Check the Plan that a method's `plan` returned.

An error names the place (module, class and method), the value, and the allowed values. Like the
checks of returned.py, these take no time compared with training.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from fedmpi.layout import Layout
from fedmpi.plan import STATISTICS, Backward, Own, Plan, Submodel
from fedmpi.returned import beyond, flags, place, support, wrong

# Attributes of a Plan: arrays with the size of the model, and numbers that are not negative.
FLAGS = ("mask", "update", "penalised")
VECTORS = ("start", "control", "grow", "scores", "signs")
AMOUNTS = ("proximal", "importance", "penalty", "threshold", "clip")


def check(found: Any, layout: Layout, owner: object, classes: int | None = None) -> None:
    """Check the result of `plan`, a Plan whose supports, vectors and numbers must fit the model.

    `classes` is the number of the model's outputs, or None if unknown.
    """
    where = place(owner, "plan")
    if not isinstance(found, Plan):
        raise wrong(where, found, "a fedmpi.Plan")
    for name in ("down", "up"):
        support(getattr(found, name), layout, f"{where}: {name}")
    for name in ("more_down", "bits_down"):
        supports = getattr(found, name)
        if not isinstance(supports, Mapping):
            raise wrong(f"{where}: {name}", supports, "a dict of fedmpi.Support")
        for key, more in supports.items():
            support(more, layout, f"{where}: {name}[{key!r}]")
    for name in FLAGS:
        _flags(getattr(found, name), layout.size, f"{where}: {name}")
    for name in VECTORS:
        array = getattr(found, name)
        if array is not None and not _is(array, np.float32, layout.size):
            raise wrong(f"{where}: {name}", array, f"float32[{layout.size}]")
    # Bad numbers elsewhere show in the client's loss; these two vectors only rank mask entries.
    if found.grow is not None and not np.isfinite(found.grow).all():
        raise beyond(f"{where}: grow", found.grow, "finite numbers only")
    if found.signs is not None and not np.isin(found.signs, (-1, 0, 1)).all():
        raise beyond(f"{where}: signs", found.signs, "-1, 0 and 1 only")
    _numbers(found, layout, where)
    _backward(found.backward, layout, f"{where}: backward")
    if found.submodel is not None:
        _submodel(found.submodel, layout, f"{where}: submodel")
    _shares(found, layout, where, classes)


def own(found: Any, layout: Layout, owner: object) -> None:
    """Check the result of `own`, an Own with weights of the size of the model, or None."""
    where = place(owner, "own")
    if found is None:
        return
    if not isinstance(found, Own):
        raise wrong(where, found, "a fedmpi.Own or None")
    if not _is(found.weights, np.float32, layout.size):
        raise wrong(f"{where}: weights", found.weights, f"float32[{layout.size}]")
    if found.submodel is not None:
        _submodel(found.submodel, layout, f"{where}: submodel")


def _numbers(found: Plan, layout: Layout, where: str) -> None:
    """Check the numbers and the names in a Plan."""
    rules: list[tuple[str, bool, str]] = [
        (name, _number(getattr(found, name)), "a finite number, not negative")
        for name in AMOUNTS
    ]
    power, tensors, moves = found.power, found.tensors, found.readjust
    rules += [
        ("power", _number(power) and power > 0, "a finite number above 0"),
        ("power", power == 1 or found.scores is None, "1 in a plan with scores"),
        ("salient", _number(found.salient, 1), "a number from 0 to 1"),
        ("probes", _whole(found.probes, 1), "a whole number, at least 1"),
        ("steps", found.steps is None or _whole(found.steps, 0), "None or a whole number, not "
         "negative"),
        ("tensors", _each(tensors, lambda t: _whole(t, 0, len(layout.tensors) - 1))
         and len(set(tensors)) == len(tensors),
         f"different whole numbers from 0 to {len(layout.tensors) - 1}, in a tuple"),
        ("readjust", _each(moves, _is_move) and len({at for at, _ in moves}) == len(moves),
         "pairs of a step, from 1 and each named once, and a share from 0 to 1, in a tuple"),
        ("portions", _each(found.portions, lambda part: _number(part, 1))
         and len(found.portions) == 2, "two numbers from 0 to 1"),
        ("statistics", _each(found.statistics, STATISTICS.__contains__)
         and not isinstance(found.statistics, str), f"a tuple of names: {', '.join(STATISTICS)}"),
    ]
    for name, right, wanted in rules:
        if not right:
            raise beyond(f"{where}: {name}", getattr(found, name), wanted)
    if "curvature" in found.statistics and "gradient" not in found.statistics:
        raise beyond(f"{where}: statistics", found.statistics,
                     'a tuple with "gradient", which "curvature" needs')


def _is_move(pair: Any) -> bool:
    """Return whether `pair` is a pair of a step and a share."""
    return isinstance(pair, Sequence) and len(pair) == 2 and (
        _whole(pair[0], 1) and _number(pair[1], 1))


def _is_option(pair: Any) -> bool:
    """Return whether `pair` is a pair of a key and a value, and hashable."""
    return isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and (
        getattr(pair[1], "__hash__", None) is not None)


def _backward(found: Any, layout: Layout, where: str) -> None:
    """Check the Backward of a Plan."""
    if not isinstance(found, Backward):
        raise wrong(where, found, "a fedmpi.Backward")
    last = len(layout.layers) - 1
    if not _whole(found.lowest, 0, max(last, 0)):
        raise beyond(f"{where}: lowest", found.lowest, f"a whole number from 0 to {last}")
    for name in ("mask", "update"):
        _flags(getattr(found, name), layout.size, f"{where}: {name}")
    if found.rows is None:
        return
    if not isinstance(found.rows, Sequence) or len(found.rows) != last + 1:
        raise beyond(f"{where}: rows", found.rows, f"None, or a tuple with one entry for each of "
                   f"the {last + 1} layers")
    for layer, rows in zip(layout.layers, found.rows, strict=True):
        if rows is not None and not _is(rows, np.bool_, layer.rows):
            raise wrong(f"{where}: rows of {layer.name}", rows, f"None or bool[{layer.rows}]")


def _submodel(found: Any, layout: Layout, where: str) -> None:
    """Check the Submodel of a Plan or an Own."""
    if not isinstance(found, Submodel):
        raise wrong(where, found, "a fedmpi.Submodel")
    if not (_number(found.divisor) and found.divisor > 0):
        raise beyond(f"{where}: divisor", found.divisor, "a finite number above 0")
    if not _whole(found.shared, 0, layout.size):
        raise beyond(f"{where}: shared", found.shared, f"a whole number from 0 to {layout.size}")
    pairs = isinstance(found.options, tuple) and _each(found.options, _is_option)
    if not pairs:
        raise beyond(f"{where}: options", found.options, "a tuple of pairs of a key and its value, "
                     "whose lists are tuples")
    if found.rows is None:
        return
    sizes = [layer.rows for layer in layout.layers]
    fits = _each(found.rows, lambda row: isinstance(row, bytes)) and (
        [*map(len, found.rows)] == sizes and all(set(row) <= {0, 1} for row in found.rows))
    if not fits:
        raise beyond(f"{where}: rows", found.rows, "bytes for each layer, 0 or 1 for each of "
                   f"{', '.join(map(str, sizes))} rows, in a tuple")


def _shares(found: Plan, layout: Layout, where: str, classes: int | None) -> None:
    """Check the arrays of a Plan that do not have the size of the model."""
    labels, gates, layers = found.labels, found.gates, len(layout.layers)
    if labels is not None and not _is(labels, np.bool_, np.size(labels), classes):
        size = "classes" if classes is None else classes
        raise wrong(f"{where}: labels", labels, f"bool[{size}]")
    if gates is None:
        return
    if not _is(gates, np.float64, layers):
        raise wrong(f"{where}: gates", gates, f"float64[{layers}]")
    if not ((gates >= 0) & (gates <= 1)).all():
        raise beyond(f"{where}: gates", gates.tolist(), "numbers from 0 to 1")


def _flags(found: Any, size: int, where: str) -> None:
    """Check uint8[size] or bool[size] of 0 and 1, or None."""
    if found is not None:
        flags(found, size, where, f"uint8[{size}]")


def _number(value: Any, most: float = float("inf")) -> bool:
    """Return whether `value` is a finite number from 0 to `most`."""
    right = isinstance(value, int | float | np.integer | np.floating)
    return right and isfinite(value) and bool(0 <= value <= most)


def _whole(value: Any, least: int, most: float = float("inf")) -> bool:
    """Return whether `value` is a whole number from `least` to `most`."""
    return isinstance(value, int | np.integer) and bool(least <= value <= most)


def _each(found: Any, right: Callable[[Any], bool]) -> bool:
    """Return whether `found` is a tuple or list in which every value is `right`."""
    return isinstance(found, Sequence) and all(map(right, found))


def _is(array: Any, kind: Any, *sizes: int | None) -> bool:
    """Return whether `array` is one-dimensional with dtype `kind` and each of the known `sizes`."""
    return isinstance(array, np.ndarray) and array.dtype == kind and (
        all(array.shape == (size,) for size in sizes if size is not None))
