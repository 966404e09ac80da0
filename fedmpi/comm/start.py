"""Start the ranks such that a rank that fails ends the run instead of hanging it."""

import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

from fedmpi.comm.base import Comm, Serial
from fedmpi.comm.launch import (
    launched,
    let_waiting_ranks_sleep,
    refuse,
    refuse_lone_worlds,
    refuse_strange_launcher,
)
from fedmpi.comm.library import family, join_ranks, library
from fedmpi.comm.orphan import dying_with_parent, end_with
from fedmpi.errors import AlikeError


def start(environ: MutableMapping[str, str]) -> Comm:
    """Return the Comm of this process: Mpi under a launcher, Serial otherwise.

    `environ` is the environment of the command line, in which launchers leave marks. With more
    than one rank, an uncaught exception aborts all ranks. Raises ConfigError if there is no MPI
    library, if the launcher belongs to another MPI, or if each of N processes would run alone.
    """
    if not launched(environ):
        return Serial()
    name, fault = library()
    if fault:
        refuse(environ, f"mpi4py finds no MPI library ({fault})\n"
               "load the module of your site's MPI, or install fedmpi[mpich]; see fedmpi doctor")
    refuse_strange_launcher(environ, family(name))
    let_waiting_ranks_sleep(environ, os.cpu_count() or 1)
    parent = os.getppid()
    with dying_with_parent():
        join_ranks()
    end_with(parent)
    from fedmpi.comm.mpi import Mpi

    comm = Mpi()
    refuse_lone_worlds(environ, comm.size)
    if comm.size > 1:
        _abort_on_exception(comm)
    return comm


@contextmanager
def ending_together(comm: Comm) -> Iterator[None]:
    """End all ranks if this block raises on one of them, unless all ranks raise the error alike."""
    try:
        yield
    except AlikeError:
        raise
    except BaseException as error:
        if comm.size > 1:
            _abort(comm, error)
        raise


def _abort(comm: Comm, error: BaseException) -> None:
    """Print an error as Python does, and end all ranks."""
    sys.__excepthook__(type(error), error, error.__traceback__)
    sys.stderr.flush()
    comm.abort(1)


def _abort_on_exception(comm: Comm) -> None:
    """Make an uncaught exception of this rank end all ranks."""
    sys.excepthook = lambda kind, error, trace: _abort(comm, error)
