"""Sums over ranks: exact, independent of the order, and sent as the touched units only."""

from fedmpi.comm.reduce.auto import ALGORITHMS, Record
from fedmpi.comm.reduce.log import Log
from fedmpi.comm.reduce.reducer import CHOICES, Reducer, Result

__all__ = ["ALGORITHMS", "CHOICES", "Log", "Record", "Reducer", "Result"]
