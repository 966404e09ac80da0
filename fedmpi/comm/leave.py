"""A rank that ends early takes all ranks with it, wherever they are.

MPI knows only of an end that it is told. MPICH's launcher also looks at processes, but on a busy
machine it can take one that has left with an exit code for one that has finished, and a rank that
has not come to MPI_Init for a program without MPI. The others would wait for it for ever.
"""

import os
import sys
import time
from collections.abc import Mapping
from typing import NoReturn

from fedmpi.comm.launch import started, strange_launcher
from fedmpi.comm.library import family, join_ranks, library


def end_all(code: int) -> NoReturn:
    """End all ranks at once, after what this one has written to stderr got through.

    From any thread, whatever the main one does. Without other ranks it ends this process.
    """
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi and mpi.Is_initialized() and not mpi.Is_finalized() and mpi.COMM_WORLD.size > 1:
        time.sleep(0.5)  # launchers drop what they have not yet read when a rank aborts
        # Of another communicator MPICH would end the ranks as they next call MPI, and this one
        # with an exit code that its launcher may overlook.
        mpi.COMM_WORLD.Abort(code)
    os._exit(code)


def end_all_at_start(environ: Mapping[str, str], code: int) -> None:
    """End all ranks though this one may not have joined them; return if it has no others.

    The others wait in MPI_Init for each that the launcher has started, so this rank goes there
    first. It also returns where that cannot be done.
    """
    name, fault = library()
    if started(environ)[0] > 1 and not fault and not strange_launcher(environ, family(name)):
        join_ranks()
        end_all(code)
