"""The methods, one file each. A method is imported when it is first asked for."""

from fedmpi.algorithm import ALGORITHMS, Algorithm

ALGORITHMS.fill_from(__name__, __path__)

__all__ = ["ALGORITHMS", "Algorithm"]
