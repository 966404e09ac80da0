"""Start the ranks, so that one that fails ends the run instead of hanging it."""

import sys

from fedmpi.comm.base import Serial


def start(environ):
    """Return the Comm of this process: Mpi under a launcher, Serial alone.

    `environ` is the environment of the command line; a launcher leaves its mark there.
    With more than one rank an uncaught exception aborts all of them.
    """
    if not launched(environ):
        return Serial()
    from fedmpi.comm.mpi import Mpi  # needs an MPI library

    comm = Mpi()
    if comm.size > 1:
        _abort_on_exception(comm)
    return comm


def launched(environ):
    """Say whether an MPI launcher started this process."""
    marks = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "MPI_LOCALRANKID", "PALS_RANKID")
    return any(mark in environ for mark in marks) or int(environ.get("SLURM_NTASKS", 1)) > 1


def _abort_on_exception(comm):
    def hook(kind, error, trace):
        sys.__excepthook__(kind, error, trace)
        sys.stderr.flush()
        comm.abort(1)

    sys.excepthook = hook
