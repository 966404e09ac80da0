"""A sum that runs while this rank does something else.

A helper thread makes the blocking call; measured on MPICH and Intel MPI this hides nearly
all of it behind work that holds no lock of Python, while MPI's own nonblocking
collectives hide nothing. The thread spins on a core, so it only pays where one is free:
`worth` measures that, and the ranks agree.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter

import numpy as np
from mpi4py import MPI

GAIN = 0.8  # a sum is made behind if what it costs beyond the work falls to this part


class Behind:
    """Makes one sum after the other on a thread of its own.

    While a sum runs, its rank must not use the same Reducer, nor write to what is summed.
    All ranks start their sums in the same order.
    """

    def __init__(self, active=True):
        """Run sums on a thread if `active` and the MPI library allows it, else at once."""
        allowed = MPI.Query_thread() == MPI.THREAD_MULTIPLE
        self._thread = ThreadPoolExecutor(1) if active and allowed else None

    def start(self, call):
        """Begin call(); return a Future, whose result() waits for it and gives its answer."""
        if self._thread is not None:
            return self._thread.submit(call)
        done = Future()
        done.set_result(call())
        return done

    def close(self):
        """Wait for what was started and end the thread."""
        if self._thread is not None:
            self._thread.shutdown()


def worth(comm, call, work, repeats=3):
    """Say whether call() is better made behind work(); the same answer on every rank.

    Parameters
    ----------
    comm : mpi4py communicator
        Must not be the one that `call` uses.
    call, work : functions without arguments
        A sum over the ranks, and what they do meanwhile.
    """
    behind = Behind()
    times = np.full((repeats, 3), np.inf)
    for turn in times:
        for i, step in enumerate((work, call, lambda: _both(behind, call, work))):
            comm.Barrier()
            began = perf_counter()
            step()
            turn[i] = perf_counter() - began
    behind.close()
    best = times.min(0)
    comm.Allreduce(MPI.IN_PLACE, best, op=MPI.MAX)
    working, summing, both = best
    return bool(both - working < GAIN * summing)


def _both(behind, call, work):
    pending = behind.start(call)
    work()
    pending.result()
