"""End all ranks, on every node, when one rank ends early.

MPI notices such an end only if the rank reports it. MPICH's launcher also watches the processes.
But on a busy machine it can mistake a process that left with an exit code for one that finished,
and a rank that never reached MPI_Init for a program without MPI. The other ranks would then wait
for that rank forever.
"""

import os
import sys
import time
from collections.abc import Mapping
from typing import NoReturn

from fedmpi.comm.launch import started, strange_launcher
from fedmpi.comm.library import family, join_ranks, library


def end_all(code: int) -> NoReturn:
    """End all ranks at once, after a short wait in which this rank's stderr gets through.

    It may be called from any thread. Without other ranks it ends this process only.
    """
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi and mpi.Is_initialized() and not mpi.Is_finalized() and mpi.COMM_WORLD.size > 1:
        time.sleep(0.5)  # when a rank aborts, launchers drop output that they have not read
        # If another communicator aborts, MPICH ends the other ranks only when they next call
        # MPI, and this rank with an exit code that the launcher may overlook.
        mpi.COMM_WORLD.Abort(code)
    os._exit(code)


def end_all_at_start(environ: Mapping[str, str], code: int) -> None:
    """End all ranks even if this rank has not joined them yet; return if there are no others.

    The other ranks wait in MPI_Init for every process that the launcher started, so this rank
    calls it first. The function also returns if MPI cannot be started here.
    """
    name, fault = library()
    if started(environ)[0] > 1 and not fault and not strange_launcher(environ, family(name)):
        join_ranks()
        end_all(code)
