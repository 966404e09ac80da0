"""Check that launcher, MPI library and Slurm fit together."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import TypeAlias

from fedmpi.comm import launch
from fedmpi.comm.library import family
from fedmpi.doctor import NOTE, OK, WRONG, Finding
from fedmpi.errors import counted

Launchers: TypeAlias = Sequence[tuple[str, str]]
"""(path, version text) of each mpiexec, the first on PATH first."""

# Patterns of the srun plug-ins that can start ranks of each family, the best first.
PLUGINS = {
    "Cray": ("cray_shasta", "pmi2", "pmix*"),
    "ParaStation": ("pspmix*", "pspmi*", "psp*", "pmix*", "pmi2"),
    "MPICH": ("pmi2", "pspmi", "psp*"),
    "Open MPI": ("pmix", "pmix*", "pspmix*"),
}


def library(name: str, fault: str) -> Finding:
    """Check the MPI library that mpi4py finds: its `name`, or the `fault` that prevents loading."""
    if fault:
        return Finding(WRONG, "library", f"mpi4py finds no MPI library: {fault}",
                       "module load your site's MPI, or pip install 'fedmpi[mpich]'")
    return Finding(OK, "library", name)


def launcher(environ: Mapping[str, str], library: str, launchers: Launchers) -> Finding:
    """Check that the mpiexec on PATH fits the MPI library.

    `launchers` are (path, version text), the one on PATH first; the remedy names a later one that
    fits. `library` is the name of the MPI library. If a launcher started this process, a wrong
    mpiexec on PATH is only a NOTE: `ranks` checks the launcher that was used.
    """
    if not launchers:
        return Finding(NOTE, "launcher", "no mpiexec on PATH",
                       "start ranks with srun, or load your MPI's module")
    path, text = launchers[0]
    theirs, ours = family(text), family(library)
    value = f"{path} of {theirs or 'an unknown MPI'}"
    if not theirs or not ours or theirs == ours:
        return Finding(OK, "launcher", value)
    fitting = _fitting(library, launchers)
    level = NOTE if launch.launched(environ) else WRONG
    return Finding(level, "launcher", f"{value}, but mpi4py has {ours}: each rank would run alone",
                   f"{fitting} -n N fedmpi ..." if fitting else
                   f"put the mpiexec of {ours} first on PATH, or set MPI4PY_LIBMPI to the other")


def _fitting(library: str, launchers: Launchers) -> str:
    """Return the path of the first launcher of the library's MPI, or ""."""
    ours = [path for path, text in launchers if family(text) == family(library)]
    return ours[0] if ours else ""


def ranks(
    environ: Mapping[str, str], size: int, nodes: int, library: str, launchers: Launchers
) -> Finding:
    """Check that the ranks of this start found each other: `size` ranks on `nodes` nodes.

    `library` and `launchers` are as for `launcher`.
    """
    count = launch.lone_worlds(environ, size)
    if launch.strange_launcher(environ, family(library)) or count:
        fitting = _fitting(library, launchers)
        return Finding(
            WRONG, "ranks",
            f"{count or launch.started(environ)[0]} processes, and each takes itself for the only "
            "rank",
            f"{fitting} -n N fedmpi ..." if fitting and not launch.step_tasks(environ) else
            launch.remedy(environ),
        )
    if size == 1 < launch.job_tasks(environ) and not launch.launched(environ):
        return Finding(NOTE, "ranks", f"one process of a job with {launch.job_tasks(environ)} "
                       "tasks", "srun fedmpi ... (with --mpi=pmi2 or --mpi=pmix)")
    return Finding(OK, "ranks", "alone" if size == 1 else f"{size} on {counted(nodes, 'node')}")


def slurm(
    environ: Mapping[str, str], library: str, plugins: Sequence[str] | None, default: str = ""
) -> Finding | None:
    """Check that srun can start ranks of this library; None without Slurm.

    `plugins` are the names that `srun --mpi=list` shows, None without srun; `default` is the
    cluster's MpiDefault.
    """
    if plugins is None:
        return None
    ours, shown = family(library), ", ".join(plugins) or "nothing"
    if not ours:
        return Finding(NOTE, "slurm", f"srun --mpi knows {shown}",
                       "choose the plug-in of your MPI")
    patterns = PLUGINS[_kind(library)]
    fitting = [name for pattern in patterns for name in plugins if fnmatch(name, pattern)]
    if not fitting:
        # Some builds of MPICH understand PMIx, but there is no way to tell which.
        pmix = any(fnmatch(name, "pmix*") for name in plugins)
        return Finding(NOTE if pmix else WRONG, "slurm",
                       f"srun --mpi knows {shown}: it cannot join ranks of {ours}",
                       "in the job: mpirun fedmpi ... (jobs/env.sh: launch=(mpirun)), or ask for "
                       f"Slurm's plug-in {patterns[0]}")
    named = environ.get("SLURM_MPI_TYPE", "")
    chosen = named or default
    if chosen in fitting:
        return Finding(OK, "slurm", f"srun --mpi={chosen} by default")
    # An unfit plug-in that the user named is a mistake; a default of "none" is usual.
    certain = named and not (ours == "MPICH" and fnmatch(named, "pmix*"))
    return Finding(WRONG if certain else NOTE, "slurm",
                   f"srun uses --mpi={chosen or 'none'}, but {ours} needs {fitting[0]}",
                   f"srun --mpi={fitting[0]} fedmpi ..., or export SLURM_MPI_TYPE={fitting[0]}")


def _kind(library: str) -> str:
    """Return the key of PLUGINS for the name of a library."""
    if "CRAY" in library.upper():
        return "Cray"
    return "ParaStation" if "PARASTATION" in library.upper() else family(library)
