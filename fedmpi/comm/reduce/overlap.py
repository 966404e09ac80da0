"""A sum that runs while this rank does something else.

A thread of its own makes the blocking call; measured on MPICH and Intel MPI this hides nearly
all of it behind work that holds no lock of Python, while MPI's own nonblocking
collectives hide nothing. The thread spins on a core, so it only pays where one is free:
the round loop tries it (fedmpi/round/early_sums.py).
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mpi4py import MPI

Answer = TypeVar("Answer")


def possible() -> bool:
    """Say whether the MPI library lets two threads of a rank use it at once."""
    return MPI.Query_thread() == MPI.THREAD_MULTIPLE


class BackgroundSums:
    """Makes one sum after the other on a thread of its own.

    While a sum runs, its rank must not use the same Reducer, nor write to what is summed.
    All ranks start their sums in the same order.
    """

    def __init__(self, active: bool = True) -> None:
        """Run sums on a thread if `active` and the MPI library allows it, else at once."""
        self._thread = ThreadPoolExecutor(1) if active and possible() else None

    def start(self, call: Callable[[], Answer]) -> Future[Answer]:
        """Begin call(); return a Future, whose result() waits for it and gives its answer."""
        if self._thread is not None:
            return self._thread.submit(call)
        done: Future[Answer] = Future()
        done.set_result(call())
        return done

    def close(self) -> None:
        """Wait for what was started and end the thread."""
        if self._thread is not None:
            self._thread.shutdown()
