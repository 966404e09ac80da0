"""Settings that the command line takes from the machine: folders, threads, GPUs and memory."""

import ctypes
import os
import shutil
import sys
from collections.abc import MutableMapping
from pathlib import Path

from fedmpi import api
from fedmpi.doctor.cores import THREADS
from fedmpi.errors import ConfigError

SLURM_GPUS = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")


def data_root(named: str | None = None) -> Path:
    """Return the folder of the data sets: `named`, FEDMPI_DATA, or one in the user's cache."""
    return api.data_root(os.environ, named)


def cache_folder() -> Path:
    """Return fedmpi's folder in the user's cache."""
    return api.cache_folder(os.environ)


def mpiexec() -> str | None:
    """Return the path of the mpiexec beside this Python, else of the one on PATH, or None."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def one_thread_each(threads: int) -> None:
    """Set the number of threads of a rank for the libraries that are not loaded yet.

    A value that the user has set takes precedence. Raises ConfigError for a value that numba
    would refuse.
    """
    for name in THREADS:
        os.environ[name] = os.environ.get(name) or str(threads)
    given = os.environ["NUMBA_NUM_THREADS"]
    if not (given.isascii() and given.isdigit() and int(given) > 0):
        raise ConfigError(f"NUMBA_NUM_THREADS = {given!r}: must be a whole number from 1; set it "
                          "to the threads of a rank, or leave it out")


def gpus_of_job(environ: MutableMapping[str, str]) -> None:
    """Set in `environ` the variables that GPU libraries read, unless they are set already.

    CUDA_VISIBLE_DEVICES becomes Slurm's list of GPUs if only Slurm gives one, and cuBLAS gets a
    workspace configuration with which its results are reproducible.
    """
    environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    listed = next((environ[name] for name in SLURM_GPUS if environ.get(name)), None)
    if listed is not None:
        environ.setdefault("CUDA_VISIBLE_DEVICES", listed)


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory instead of returning it and faulting it in again.

    Training frees and allocates the same megabytes every step. Returning them to the system in
    between costs a tenth of a step of ResNet-18. Without glibc this does nothing.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, (1 << 31) - 1)
