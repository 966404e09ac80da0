"""Runs as Slurm jobs: what a job is given, its script, how it is submitted, and sweeps."""
