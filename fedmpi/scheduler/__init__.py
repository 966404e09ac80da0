"""Runs as jobs of a batch system: options, scripts, submission, and sweeps.

slurm.py, pbs.py and flux.py define the names of Scheduler. slurm.sh, pbs.sh and flux.sh define the
same shell functions for job.sh.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from fedmpi.scheduler import flux, pbs, slurm
from fedmpi.scheduler.command import Environ
from fedmpi.scheduler.options import Options


class Scheduler(Protocol):
    """The interface to a batch system; slurm.py documents each function.

    Attributes
    ----------
    EXTRA : str
        The option of `fedmpi submit` that passes words on to the batch system.
    """

    EXTRA: str

    def directives(
        self, options: Options, log: Path | None, tasks: int | None = None,
        parallel: int | None = None,
    ) -> list[str]:
        """Return the lines of the script that request the job's resources."""

    def submit(self, script: Path, environ: Environ, tasks: int | None = None) -> list[str]:
        """Submit a script and return the numbers of its jobs."""

    def alive(self, job: str, environ: Environ) -> set[str]:
        """Return the tasks of a job that are queued or running."""

    def state(self, job: str, task: str, environ: Environ) -> str:
        """Return the word for the state of a job."""

    def most_tasks(self, environ: Environ) -> int | None:
        """Return how many tasks an array may have."""

    def launch(self, options: Options, wheel: str | None) -> list[str]:
        """Return the words that start the ranks."""


# The variables in which each batch system tells a job its number.
NUMBERS = ("SLURM_JOB_ID", "PBS_JOBID", "FLUX_JOB_ID")
SCHEDULERS: Mapping[str, Scheduler] = {"slurm": slurm, "pbs": pbs, "flux": flux}


def in_job(environ: Environ) -> bool:
    """Return whether this process belongs to a job of a batch system."""
    return any(name in environ for name in NUMBERS)
