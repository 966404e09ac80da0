"""Array kernels: numpy in, numpy out, compiled by numba. Nothing else is imported.

Import this package only as ``fedmpi.kernels``. Its modules are loaded when they are
first used (``kernels.sums.add``), so that commands which compute nothing do not wait
for the compiler.
"""

from importlib import import_module
from types import ModuleType

if __name__ != "fedmpi.kernels":
    # Two names would compile and cache every kernel twice, and a cache written
    # under one name cannot be read under the other.
    raise ImportError("import fedmpi.kernels instead of kernels")


def __getattr__(name: str) -> ModuleType:
    """Load the kernel module `name` on first use (PEP 562)."""
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise AttributeError(f"fedmpi.kernels has no module {name!r}") from None
