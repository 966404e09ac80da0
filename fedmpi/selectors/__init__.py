"""The rules of selection, one file each. A rule is imported when it is first asked for."""

from fedmpi.selector import SELECTORS, Selector, World

SELECTORS.fill_from(__name__, __path__)

__all__ = ["SELECTORS", "Selector", "World"]
