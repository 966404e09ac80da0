"""What users' code returned, held against what it must return, with both shapes in the message.

Each function raises FedmpiError with the place (module, class and method), what was found and
what is wanted. The checks look at types and shapes alone, so they cost nothing beside training.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.errors import FedmpiError
from fedmpi.layout import LEVELS, Layout, Support
from fedmpi.plan import Plan

# Of a Plan: arrays with the size of the model.
FLAT = ("start", "mask", "update", "control", "grow", "scores", "penalised", "signs")


def plan(found: Any, layout: Layout, owner: object) -> None:
    """Check what `plan` returned: a Plan whose supports and vectors fit the model."""
    where = _place(owner, "plan")
    if not isinstance(found, Plan):
        raise _wrong(where, found, "a fedmpi.Plan")
    for name in ("down", "up"):
        support(getattr(found, name), layout, f"{where}: {name}")
    for name in FLAT:
        array = getattr(found, name)
        flags = name in ("mask", "update", "penalised")
        fits = np.shape(array) == (layout.size,) and (not flags or _are_flags(array))
        if array is not None and not fits:
            kind = "uint8" if flags else "float32"
            raise _wrong(f"{where}: {name}", array, f"{kind}[{layout.size}]")


def support(found: Any, layout: Layout, where: str) -> None:
    """Check a Support: one flag for each unit of its level."""
    if not isinstance(found, Support):
        raise _wrong(where, found, "a fedmpi.Support")
    if found.level not in LEVELS:
        raise FedmpiError(f"{where}: level {found.level!r}: must be one of {', '.join(LEVELS)}")
    units = len(layout.starts(found.level)) - 1
    if np.shape(found.keep) != (units,) or not _are_flags(found.keep):
        raise _wrong(f"{where}: keep", found.keep, f"uint8[{units}], a flag for each {found.level}")


def parts(found: Any, layout: Layout, where: str) -> None:
    """Check a message: a dict of Parts, "weights" among them, each with the size of the model."""
    if not isinstance(found, Mapping):
        raise _wrong(where, found, 'a dict of fedmpi.Part, "weights" among them')
    if "weights" not in found:
        raise FedmpiError(f'{where} returned the parts {_names(found)}; "weights" must be among '
                          "them")
    for name, part in found.items():
        values: Any = getattr(part, "values", None)
        held = getattr(part, "support", None)
        if not (isinstance(part, tuple) and isinstance(held, Support)):
            raise _wrong(f"{where}: {name!r}", part, "a fedmpi.Part(values, support)")
        if np.shape(values) != (layout.size,) or np.asarray(values).dtype != np.float32:
            raise _wrong(f"{where}: values of {name!r}", values, f"float32[{layout.size}]")
        support(held, layout, f"{where}: {name!r}")


def state(found: Any, layout: Layout, owner: object, method: str) -> None:
    """Check a state: a dict of arrays, "weights" float32[P] among them."""
    where = _place(owner, method)
    wanted = f'a dict of arrays with "weights", float32[{layout.size}]'
    if not isinstance(found, Mapping) or "weights" not in found:
        raise _wrong(where, found, wanted)
    arrays(found, where)
    weights = found["weights"]
    if weights.shape != (layout.size,) or weights.dtype != np.float32:
        raise _wrong(f"{where}: 'weights'", weights, f"float32[{layout.size}]")


def arrays(found: Any, where: str) -> None:
    """Check a dict of numpy arrays, as a checkpoint can keep them."""
    if not isinstance(found, Mapping):
        raise _wrong(where, found, "a dict of numpy arrays")
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise _wrong(f"{where}: {name!r}", array, "a numpy array")


def memory(found: Any, owner: object) -> None:
    """Check what `remember` returned: a dict of arrays, or None."""
    if found is not None:
        arrays(found, _place(owner, "remember"))


def sums(found: Any, owner: object) -> None:
    """Check what `zero` returned: a dict of fedmpi.Total."""
    if not isinstance(found, Mapping):
        raise _wrong(_place(owner, "zero"), found, "a dict of fedmpi.Total")


def kept(found: Any, layout: Layout, owner: object) -> None:
    """Check what `kept` returned: a flag for each weight, or None."""
    if found is not None and np.shape(found) != (layout.size,):
        raise _wrong(_place(owner, "kept"), found, f"uint8[{layout.size}] or None")


def clients(found: Any, sizes: Integers, number: int, owner: object) -> Integers:
    """Return the clients that `select` returned as int64[n], checked.

    They must be at most `number` different ids of clients with samples in `sizes`, int64[K].
    """
    where, wanted = _place(owner, "select"), f"at most {number} different ids, int64[n]"
    ids = np.asarray(found)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise _wrong(where, found, wanted)
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
    """Check what a stage's `client` returned: the parts, and the arrays that it keeps."""
    where = _place(owner, "client")
    if not isinstance(found, tuple) or len(found) != 2:
        raise _wrong(where, found, "the pair (parts, memory)")
    parts(found[0], layout, where)
    arrays(found[1], f"{where}: memory")


def message(found: Any, layout: Layout, owner: object) -> None:
    """Check what `message` returned."""
    parts(found, layout, _place(owner, "message"))


def described(found: Any) -> str:
    """Return a value in a few words: an array by dtype and shape, a dict by its names."""
    if isinstance(found, np.ndarray):
        return f"{found.dtype}[{', '.join(map(str, found.shape))}]"
    if isinstance(found, Mapping):
        return f"a dict of {_names(found)}"
    return "None" if found is None else f"a {type(found).__name__}"


def _are_flags(array: Any) -> bool:
    """Say whether an array has a byte for each flag: kernels read these bytes, not numbers."""
    return np.asarray(array).dtype in (np.uint8, bool)


def _names(found: Mapping[Any, Any]) -> str:
    return ", ".join(map(repr, found)) or "nothing"


def _place(owner: object, method: str) -> str:
    kind = type(owner)
    return f"{kind.__module__}.{kind.__qualname__}.{method}"


def _wrong(where: str, found: Any, wanted: str) -> FedmpiError:
    """Return the error that what a method returned, or a part of that, is not `wanted`."""
    verb, must = ("is", "be") if ": " in where else ("returned", "return")
    return FedmpiError(f"{where} {verb} {described(found)}; it must {must} {wanted}")
