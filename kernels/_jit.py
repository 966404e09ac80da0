"""The compiler switches that every kernel shares.

fastmath stays off because it may reorder sums, and results must have the same bits
on every rank. The cache is in NUMBA_CACHE_DIR. The command line sets it to a folder
on a node-local disk, which one rank per node fills while the others wait.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba import types

from fedmpi.kernels._cache import once_per_node

Function = TypeVar("Function", bound=Callable[..., Any])
_SWITCHES: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


def kernel(function: Function) -> Function:
    """Return `function` as a kernel: compiled on first use, once on a node, and cached.

    A kernel that another kernel calls with constants is compiled for their types only. By default,
    numba also compiles it for each constant, and for the first value of each loop variable.
    """
    return _made(function)


def inlined(function: Function) -> Function:
    """Return `function` as a kernel that is copied into its callers.

    Meant for tiles: calling a function with four arrays takes as long as 10 steps of a tile's loop.
    """
    return _made(function, forceinline=True)


def _made(function: Function, **more: Any) -> Function:
    try:
        made: Any = numba.njit(**_SWITCHES, **more)(function)
    except RuntimeError:  # no folder for the cache can be written
        made = numba.njit(**_SWITCHES | {"cache": False}, **more)(function)
    made = once_per_node(made)
    if hasattr(made, "get_call_template"):  # not with NUMBA_DISABLE_JIT
        template = made.get_call_template
        made.get_call_template = lambda args, kws: template(map(types.unliteral, args), kws)
    return cast(Function, made)
