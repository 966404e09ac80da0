"""Sums that run in the background while this rank does something else.

A separate thread makes the blocking call. Measured on MPICH and Intel MPI, this hides nearly the
whole sum behind work that releases Python's global lock, while MPI's nonblocking collectives hide
nothing. The thread spins on a core, so it pays only where a core is free. The round loop tries
both ways (fedmpi/round/early_sums.py).
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mpi4py import MPI

Answer = TypeVar("Answer")


def possible() -> bool:
    """Return whether the MPI library lets two threads of a rank call it at once."""
    return MPI.Query_thread() == MPI.THREAD_MULTIPLE


class BackgroundSums:
    """Run sums one after another on a separate thread.

    While a sum runs, its rank must not use the same Reducer or write to the arrays being summed.
    All ranks must start their sums in the same order.
    """

    def __init__(self, active: bool = True) -> None:
        """Run sums on a thread if `active` and if the MPI library allows it, else in `start`."""
        self._thread = ThreadPoolExecutor(1) if active and possible() else None

    def start(self, call: Callable[[], Answer]) -> Future[Answer]:
        """Start call(), and return a Future for its result."""
        if self._thread is not None:
            return self._thread.submit(call)
        done: Future[Answer] = Future()
        done.set_result(call())
        return done

    def close(self) -> None:
        """Wait for the calls that were started, and end the thread."""
        if self._thread is not None:
            self._thread.shutdown()
