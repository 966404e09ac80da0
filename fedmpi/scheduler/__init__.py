"""Runs as jobs of a batch system: options, scripts, submission, and sweeps.

slurm.py, pbs.py and flux.py have the names of Scheduler; slurm.sh, pbs.sh and flux.sh give job.sh
the same names.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from fedmpi.scheduler import flux, pbs, slurm
from fedmpi.scheduler.command import Environ
from fedmpi.scheduler.options import Options


class Scheduler(Protocol):
    """What fedmpi needs of a batch system; slurm.py says what each function does.

    Attributes
    ----------
    EXTRA : str
        The option of `submit` that passes words on to it.
    """

    EXTRA: str

    def directives(
        self, options: Options, log: Path | None, tasks: int | None = None,
        parallel: int | None = None,
    ) -> list[str]:
        """Return the lines of the script that tell it what the job asks for."""

    def submit(self, script: Path, environ: Environ, tasks: int | None = None) -> list[str]:
        """Submit a script and return the numbers of its jobs."""

    def alive(self, job: str, environ: Environ) -> set[str]:
        """Return the tasks of a job that wait or run."""

    def state(self, job: str, task: str, environ: Environ) -> str:
        """Return the word for the state of a job."""

    def most_tasks(self, environ: Environ) -> int | None:
        """Return how many tasks an array may have."""

    def launch(self, options: Options, wheel: str | None) -> list[str]:
        """Return the words that start the ranks."""


# How each tells a job its number: variables in the environment of the job.
NUMBERS = ("SLURM_JOB_ID", "PBS_JOBID", "FLUX_JOB_ID")
SCHEDULERS: Mapping[str, Scheduler] = {"slurm": slurm, "pbs": pbs, "flux": flux}


def in_job(environ: Environ) -> bool:
    """Say whether this process belongs to a job of a batch system."""
    return any(name in environ for name in NUMBERS)
