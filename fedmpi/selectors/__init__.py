"""The selection rules, one file each. A rule is imported at its first use."""

from fedmpi.selector import SELECTORS, Selector, World

SELECTORS.fill_from(__name__, __path__)

__all__ = ["SELECTORS", "Selector", "World"]
