"""The rules of selection, one file each. Importing this folder registers all of them."""

from importlib import import_module
from pkgutil import iter_modules

from fedmpi.selector import SELECTORS, Selector, World

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["SELECTORS", "Selector", "World"]
