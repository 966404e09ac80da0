"""Check the values that users' code returns.

Each function raises FedmpiError with the place (module, class and method), the value found (for an
array its shape) and the value required. The checks look at types, shapes, single numbers and flags
only, so they take no time compared with training. Long vectors with infinite numbers or NaN show in
the client's loss.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from fedmpi.arrays import AnyArray, Integers, Reals
from fedmpi.errors import FedmpiError, either
from fedmpi.layout import LEVELS, Layout, Support

CODED = ("int8", "int4", "stream", "ones")
"""The encodings of a part's values other than that of the run; the first two have scales."""

ANSWERS = ("remembers", "personal", "bits", "prunes", "scheduled", "torch_only",
           "static_norm")
"""The attributes of a method's class that are True or False."""


def support(found: Any, layout: Layout, where: str) -> None:
    """Check a Support: one flag for each unit of its level."""
    if not isinstance(found, Support):
        raise wrong(where, found, "a fedmpi.Support")
    if found.level not in LEVELS:
        raise FedmpiError(f"{where}: level {found.level!r}: must be one of {', '.join(LEVELS)}")
    units = len(layout.starts(found.level)) - 1
    flags(found.keep, units, f"{where}: keep", f"uint8[{units}], a flag for each {found.level}")


def flags(found: Any, size: int, where: str, wanted: str) -> None:
    """Check that `found` is uint8[size] or bool[size] of 0 and 1; `wanted` says so in words."""
    # Each flag must be one byte, since kernels read the bytes of the array, whatever its dtype.
    if np.shape(found) != (size,) or np.asarray(found).dtype not in (np.uint8, bool):
        raise wrong(where, found, wanted)
    if np.max(found, initial=0) > 1:
        raise beyond(where, int(np.max(found)), "uint8 of 0 and 1 only")


def parts(found: Any, layout: Layout, where: str) -> None:
    """Check a message: a dict of Parts, "weights" among them, each with the size of the model."""
    if not isinstance(found, Mapping):
        raise wrong(where, found, 'a dict of fedmpi.Part, "weights" among them')
    if "weights" not in found:
        raise FedmpiError(f'{where} returned the parts {_names(found)}; "weights" must be among '
                          "them")
    for name, part in found.items():
        values: Any = getattr(part, "values", None)
        held = getattr(part, "support", None)
        if not (isinstance(part, tuple) and isinstance(held, Support)):
            raise wrong(f"{where}: {name!r}", part, "a fedmpi.Part(values, support)")
        if np.shape(values) != (layout.size,) or np.asarray(values).dtype != np.float32:
            raise wrong(f"{where}: values of {name!r}", values, f"float32[{layout.size}]")
        support(held, layout, f"{where}: {name!r}")
        _coding(part[3], layout, f"{where}: coding of {name!r}")


def _coding(found: Any, layout: Layout, where: str) -> None:
    """Check a Coding or None. Scales that are not finite show in the values."""
    if found is None:
        return
    kind: Any = getattr(found, "value_type", None)
    if kind is None:
        raise wrong(where, found, "a fedmpi.Coding or None")
    if kind not in CODED:
        raise beyond(f"{where}: value_type", kind, either(CODED))
    tensors, scales = len(layout.tensors), np.asarray(found.scales)
    fits = scales.shape == (tensors,) and scales.dtype == np.float32 and not (scales < 0).any()
    if kind in CODED[:2] and not fits:
        wanted = f"float32[{tensors}], none of them negative"
        raise wrong(f"{where}: scales", found.scales, wanted)
    whole = isinstance(found.bytes, int | np.integer)
    if kind == "stream" and not (whole and found.bytes >= 0):
        raise beyond(f"{where}: bytes", found.bytes, "a whole number, not negative")


def state(found: Any, layout: Layout, owner: object, method: str) -> None:
    """Check a state: a dict of arrays, "weights" float32[P] among them."""
    where = place(owner, method)
    wanted = f'a dict of arrays with "weights", float32[{layout.size}]'
    if not isinstance(found, Mapping) or "weights" not in found:
        raise wrong(where, found, wanted)
    arrays(found, where)
    weights = found["weights"]
    if weights.shape != (layout.size,) or weights.dtype != np.float32:
        raise wrong(f"{where}: 'weights'", weights, f"float32[{layout.size}]")
    with np.errstate(all="ignore"):
        sound = np.isfinite(weights.sum()) or np.isfinite(weights).all()
    if not sound:
        first = int(np.flatnonzero(~np.isfinite(weights))[0])
        count = int(np.count_nonzero(~np.isfinite(weights)))
        raise beyond(f"{where}: 'weights', {count:,} of {layout.size:,}, the first at {first},",
                     weights[first], "finite numbers only")


def begun(found: Any, layout: Layout, owner: Any) -> None:
    """Check the state that `start` returned, and the attributes of the method's class."""
    state(found, layout, owner, "start")
    summed, base = owner.summed, owner.base
    named = isinstance(summed, tuple | list) and all(isinstance(name, str) for name in summed)
    if not named or len({*summed, "weights"}) <= len(summed):
        raise beyond(place(owner, "summed"), summed, 'a tuple of different names of parts, beside '
                     '"weights"')
    if base is not None and not (isinstance(base, str) and base in found):
        raise beyond(place(owner, "base"), base, f"None, or the name of an entry of the state: "
                     f"{_names(found)}")
    if base is not None and (
            found[base].shape != (layout.size,) or found[base].dtype != np.float32):
        raise wrong(f"{place(owner, 'base')}: entry {base!r}", found[base],
                    f"float32[{layout.size}]")
    for name in ANSWERS:
        if not isinstance(getattr(owner, name), bool | np.bool_):
            raise beyond(place(owner, name), getattr(owner, name), "True or False")


def arrays(found: Any, where: str) -> None:
    """Check a dict of numpy arrays by name, which a checkpoint must be able to store."""
    if not isinstance(found, Mapping):
        raise wrong(where, found, "a dict of numpy arrays")
    for name, array in found.items():
        if not isinstance(name, str):
            raise wrong(f"{where}: the name {name!r}", name, "a text")
        if not isinstance(array, np.ndarray):
            raise wrong(f"{where}: {name!r}", array, "a numpy array")
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise wrong(f"{where}: {name!r}", array, "an array of whole numbers, floats of at most "
                        "64 bits or flags")


def kept_by(owner: Any) -> Mapping[str, AnyArray]:
    """Return the checked result of a selector's `arrays`, for a checkpoint."""
    found: Mapping[str, AnyArray] = owner.arrays()
    arrays(found, place(owner, "arrays"))
    return found


def memory(found: Any, owner: object) -> None:
    """Check the result of `remember`, a dict of arrays or None."""
    if found is not None:
        arrays(found, place(owner, "remember"))


def sums(found: Any, owner: Any) -> None:
    """Check the result of `zero`, a dict of fedmpi.Total with the names that `add` needs."""
    names = ("weights", *owner.summed) if _adds_plainly(owner) else ()
    if not isinstance(found, Mapping) or not {*names} <= {*found}:
        what = f" with {', '.join(map(repr, names))}" if names else ""
        raise wrong(place(owner, "zero"), found, f"a dict of fedmpi.Total{what}")


def _adds_plainly(owner: Any) -> bool:
    """Return whether `add` is fedmpi's, which adds "weights" and `summed` only."""
    return bool(type(owner).add.__module__ == "fedmpi.algorithm")


def one_of(owner: object, name: str, known: tuple[str, ...]) -> None:
    """Check that an attribute of an object is one of the `known` texts."""
    if getattr(owner, name) not in known:
        raise beyond(place(owner, name), getattr(owner, name), either(known))


def kept(found: Any, layout: Layout, owner: object) -> None:
    """Check the result of `kept`, a flag for each weight or None."""
    if found is not None:
        flags(found, layout.size, place(owner, "kept"), f"uint8[{layout.size}] or None")


def number(found: Any, owner: object, name: str, wanted: str, most: float = float("inf")) -> None:
    """Check that the attribute or method `name` of `owner` gave a number from 0 to `most`.

    `wanted` says so in words. NaN is outside every range.
    """
    plain = isinstance(found, int | float | np.integer | np.floating)
    if not (plain and 0 <= found <= most):
        raise beyond(place(owner, name), found, wanted)


def whole(found: Any, owner: object, name: str) -> None:
    """Check that the attribute `name` of `owner` is a whole number that is not negative."""
    if not (isinstance(found, int | np.integer) and found >= 0):
        raise beyond(place(owner, name), found, "a whole number, not negative")


def judged(found: Any, rows: int | None, owner: object) -> Reals:
    """Return the checked result of a Metric's `parts` as float64[m], or float64[rows, m].

    `rows` is None if the parts are those of a whole block.
    """
    array = np.array("")
    with suppress(ValueError):  # lists of different lengths are no array
        array = np.asarray(found)
    size = () if rows is None else (rows,)
    if array.dtype.kind not in "biuf" or not array.ndim or array.shape[:-1] != size:
        wanted = "float64[m]" if rows is None else f"float64[{rows}, m]"
        raise wrong(place(owner, "parts"), found, wanted)
    return np.asarray(array, np.float64)


def judgement(found: Any, owner: object) -> float:
    """Return the checked result of a Metric's `value` as a float; NaN stands for no value."""
    if np.ndim(found) or np.asarray(found).dtype.kind not in "biuf":
        raise wrong(place(owner, "value"), found, "a number")
    return float(found)


def clients(found: Any, sizes: Integers, number: int, owner: object) -> Integers:
    """Return the checked result of `select`, the ids of clients, as int64[n].

    It must have at most `number` different ids, all of clients with samples in `sizes`, int64[K].
    """
    where, wanted = place(owner, "select"), f"at most {number} different ids, int64[n]"
    ids = np.asarray(found)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise wrong(where, found, wanted)
    if ids.size > number or len(np.unique(ids)) < ids.size:
        raise FedmpiError(f"{where} returned {ids.size} ids, {len(np.unique(ids))} of them "
                          f"different; it must return {wanted}")
    outside = ids[(ids < 0) | (ids >= len(sizes))]
    if outside.size:
        raise FedmpiError(f"{where} returned client {outside[0]}; clients are 0 to "
                          f"{len(sizes) - 1}")
    if (away := ids[sizes[ids] == 0]).size:
        raise FedmpiError(f"{where} returned client {away[0]}, which cannot be selected now: its "
                          "entry in world.sizes is 0")
    return ids.astype(np.int64)


def staged(found: Any, layout: Layout, owner: object) -> None:
    """Check the result of a stage's `client`, the parts and the arrays that the stage keeps."""
    where = place(owner, "client")
    if not isinstance(found, tuple) or len(found) != 2:
        raise wrong(where, found, "the pair (parts, memory)")
    parts(found[0], layout, where)
    arrays(found[1], f"{where}: memory")


def message(found: Any, layout: Layout, owner: Any) -> None:
    """Check the result of `message`, parts that must all be added up or be of use to `remember`."""
    where = place(owner, "message")
    parts(found, layout, where)
    unread = [name for name in found if name not in ("weights", *owner.summed)]
    if unread and _adds_plainly(owner) and not owner.remembers:
        raise FedmpiError(f"{where} returned the part {unread[0]!r}, which is not added up; let "
                          f"the class say `summed = ({unread[0]!r},)`, or define add")


def described(found: Any) -> str:
    """Return a short description of a value: dtype and shape of an array, names of a dict."""
    if isinstance(found, np.ndarray):
        return f"{found.dtype}[{', '.join(map(str, found.shape))}]"
    if isinstance(found, Mapping):
        return f"a dict of {_names(found)}"
    name = type(found).__name__
    return "None" if found is None else f"a{'n' * (name[0].lower() in 'aeio')} {name}"


def _names(found: Mapping[Any, Any]) -> str:
    return ", ".join(map(repr, found)) or "nothing"


def place(owner: object, method: str) -> str:
    """Return the name of a method of an object, with its module and class."""
    kind = type(owner)
    return f"{kind.__module__}.{kind.__qualname__}.{method}"


def wrong(where: str, found: Any, wanted: str) -> FedmpiError:
    """Return the error for a result, or a part of it, whose type or shape is not `wanted`."""
    verb, must = ("is", "be") if ": " in where else ("returned", "return")
    return FedmpiError(f"{where} {verb} {described(found)}; it must {must} {wanted}")


def beyond(where: str, found: Any, wanted: str) -> FedmpiError:
    """Return the error for a result, or a part of it, whose value is not `wanted`."""
    shown = str(found) if isinstance(found, np.generic) else repr(found)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return FedmpiError(f"{where} is {shown}; it must be {wanted}")
