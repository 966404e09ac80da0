"""Marks that a launcher leaves in the environment of the processes that it starts.

In every function, `environ` is the environment of the command line, a dict of strings.
"""

from collections.abc import Mapping, MutableMapping
from typing import NoReturn, TypeAlias

from fedmpi.errors import ConfigError

Environ: TypeAlias = Mapping[str, str]

# Set by mpiexec of MPICH, Intel MPI, Open MPI and HPE's PALS, and by srun --mpi=pmi2 or pmix.
_RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "PALS_RANKID")
_MARKS = (*_RANKS, "MPI_LOCALRANKID")  # the last only gives the rank within its node
# The innermost launcher comes first: mpirun inside a step of Slurm leaves the step's marks.
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")


def launched(environ: Environ) -> bool:
    """Return whether this process was started by an MPI launcher or by srun.

    The shell of a batch job or of salloc was not, even where SLURM_NTASKS is set.
    """
    return any(mark in environ for mark in _MARKS) or step_tasks(environ) > 1


def started(environ: Environ) -> tuple[int, str]:
    """Return (number of processes that the launcher started, variable with it), or (1, "")."""
    for name in _SIZES:
        if name in environ:
            return _number(environ[name], 1), name
    return 1, ""


def rank_of(environ: Environ) -> int:
    """Return this process's rank according to the launcher, or 0 without a launcher."""
    for name in _RANKS:
        if name in environ:
            return _number(environ[name], 0)
    return _number(environ.get("SLURM_PROCID"), 0) if "SLURM_STEP_ID" in environ else 0


def step_tasks(environ: Environ) -> int:
    """Return the number of processes that srun started in this step; 0 outside a step."""
    return _number(environ.get("SLURM_STEP_NUM_TASKS"), 0)


def job_tasks(environ: Environ) -> int:
    """Return the number of tasks of this Slurm job; 0 outside a job."""
    return _number(environ.get("SLURM_NTASKS"), 0) if "SLURM_JOB_ID" in environ else 0


def lone_worlds(environ: Environ, size: int) -> int:
    """Return how many ranks believe that they are alone, or 0 if `size`, MPI's count, is right."""
    count, _ = started(environ)
    return count if size == 1 < count else 0


def strange_launcher(environ: Environ, library: str) -> bool:
    """Return whether Open MPI's launcher started a process whose `library` family is "MPICH".

    Such a process hangs in MPI_Init, or runs alone. The reverse case can only be seen from the
    number of ranks, since some builds of Open MPI understand MPICH's launcher.
    """
    return library == "MPICH" and started(environ)[1] == "OMPI_COMM_WORLD_SIZE"


def let_waiting_ranks_sleep(environ: MutableMapping[str, str], cores: int) -> None:
    """Set the variable in `environ` that makes MPICH's ranks sleep while they wait.

    Call this before MPI starts. The variable is set only if MPICH's launcher started more ranks
    on this node than it has `cores`. By default waiting ranks poll without a pause, and take the
    cores from ranks that compute. A value set by the user wins.
    """
    if _number(environ.get("MPI_LOCALNRANKS"), 0) > cores:
        environ.setdefault("MPIR_CVAR_ENABLE_HEAVY_YIELD", "1")


def refuse_strange_launcher(environ: Environ, library: str) -> None:
    """Raise ConfigError if `strange_launcher` returns true."""
    if strange_launcher(environ, library):
        refuse(environ, f"mpiexec is Open MPI's, but mpi4py has a library of {library}'s family\n"
               + remedy(environ))


def refuse_lone_worlds(environ: Environ, size: int) -> None:
    """Raise ConfigError if MPI does not join the N processes started, so N jobs of size 1 run."""
    if count := lone_worlds(environ, size):
        refuse(environ, f"{started(environ)[1]} = {count}, but MPI joins none of the {count} "
               f"processes: each would run the whole experiment\n{remedy(environ)}")


def refuse(environ: Environ, text: str) -> NoReturn:
    """Raise ConfigError on rank 0; the other ranks exit with the same code."""
    if rank_of(environ):
        raise SystemExit(ConfigError.exit_code)
    raise ConfigError(text)


def remedy(environ: Environ) -> str:
    """Return advice on how to start ranks that find each other."""
    if step_tasks(environ):
        return ("start with srun --mpi=pmi2 (MPICH, Intel MPI) or srun --mpi=pmix (Open MPI), "
                "or with mpirun in the job; see srun --mpi=list")
    return ("start with the mpiexec of the MPI that mpi4py has, often beside python itself; "
            "fedmpi doctor names both")


def _number(text: str | None, otherwise: int) -> int:
    """Return the whole number in `text`, or `otherwise` if it holds none."""
    return int(text) if text and text.isdigit() else otherwise
