"""The methods, one file each. A method is imported at its first use."""

from fedmpi.algorithm import ALGORITHMS, Algorithm

ALGORITHMS.fill_from(__name__, __path__)

__all__ = ["ALGORITHMS", "Algorithm"]
