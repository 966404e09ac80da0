"""The methods, one file each. Importing this folder registers all of them."""

from importlib import import_module
from pkgutil import iter_modules

from fedmpi.algorithm import ALGORITHMS, Algorithm

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["ALGORITHMS", "Algorithm"]
