"""Sums over ranks, by messages that hold only touched units; integer sums have no order."""

from fedmpi.comm.reduce.auto import ALGORITHMS, Record
from fedmpi.comm.reduce.log import Log
from fedmpi.comm.reduce.reducer import CHOICES, Reducer, Result

__all__ = ["ALGORITHMS", "CHOICES", "Log", "Record", "Reducer", "Result"]
