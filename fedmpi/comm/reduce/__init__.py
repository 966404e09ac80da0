"""Sums over ranks: exact, free of order, and no larger than what was touched."""

from fedmpi.comm.reduce.auto import ALGORITHMS, Record
from fedmpi.comm.reduce.log import Log
from fedmpi.comm.reduce.reducer import CHOICES, Reducer, Result

__all__ = ["ALGORITHMS", "CHOICES", "Log", "Record", "Reducer", "Result"]
