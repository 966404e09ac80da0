"""The mpiexec with which a command starts its own ranks, and the peculiarities of Open MPI's."""

import os

from fedmpi.cli.facts import output
from fedmpi.cli.machine import mpiexec
from fedmpi.comm.library import family
from fedmpi.errors import ConfigError


def words_for(ranks: int) -> list[str]:
    """Return the words that start `ranks` ranks here. Raises ConfigError without an mpiexec."""
    if not (found := mpiexec()):
        raise ConfigError("no mpiexec to start ranks; load your MPI's module or install "
                          "fedmpi[mpich]")
    return [found, *crowding(found, ranks), "-n", str(ranks)]


def crowding(path: str, ranks: int) -> list[str]:
    """Return the words that the launcher at `path` needs for more `ranks` than cores.

    Without these words Open MPI's launcher refuses to oversubscribe cores; MPICH's does not. With
    them it binds no rank to a core, so they are left out if there are enough cores.
    """
    crowded = ranks > len(os.sched_getaffinity(0)) and of_open_mpi(path)
    return ["--map-by", ":oversubscribe"] if crowded else []


def of_open_mpi(path: str) -> bool:
    """Return whether the launcher at `path` is Open MPI's, by the text of its --version."""
    return family(output(path, "--version")) == "Open MPI"
