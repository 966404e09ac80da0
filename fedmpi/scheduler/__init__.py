"""Runs as jobs of a batch system: options, scripts, submission, and sweeps.

slurm.py, pbs.py and flux.py have the same names: EXTRA, directives, submit, alive, state,
most_tasks and launch; slurm.sh, pbs.sh and flux.sh give job.sh the same names.
"""

from fedmpi.scheduler import flux, pbs, slurm

SCHEDULERS = {"slurm": slurm, "pbs": pbs, "flux": flux}
