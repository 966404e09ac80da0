"""The mpiexec with which a command starts ranks of its own, and how Open MPI's differs."""

import os

from fedmpi.cli.facts import output
from fedmpi.cli.machine import mpiexec
from fedmpi.comm.library import family
from fedmpi.errors import ConfigError


def launch_of(ranks: int) -> list[str]:
    """Return the words that start `ranks` ranks here. Raises ConfigError without an mpiexec."""
    if not (found := mpiexec()):
        raise ConfigError("no mpiexec to start ranks; load your MPI's module or install "
                          "fedmpi[mpich]")
    return [found, *crowding(found, ranks), "-n", str(ranks)]


def crowding(path: str, ranks: int) -> list[str]:
    """Return the words that the launcher at `path` needs for `ranks` ranks on fewer cores.

    Open MPI's refuses them otherwise, and MPICH's does not. With them it binds no rank to a core,
    so they are not for as many ranks as cores.
    """
    crowded = ranks > len(os.sched_getaffinity(0)) and of_open_mpi(path)
    return ["--map-by", ":oversubscribe"] if crowded else []


def of_open_mpi(path: str) -> bool:
    """Say whether the launcher at `path` is Open MPI's, as its --version tells."""
    return family(output(path, "--version")) == "Open MPI"
