"""What the command line takes from the machine: folders and thread counts."""

import ctypes
import os
from pathlib import Path


def data_root():
    """Return the folder of the data sets: FEDMPI_DATA, or one in the user's cache."""
    named = os.environ.get("FEDMPI_DATA")
    return Path(named) if named else cache_folder() / "data"


def cache_folder():
    """Return fedmpi's folder in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "fedmpi"


def one_thread_each(threads):
    """Tell the libraries that are not loaded yet how many threads a rank has.

    A value that the user has set wins.
    """
    for name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        os.environ.setdefault(f"{name}_NUM_THREADS", str(threads))


def keep_freed_memory():
    """Ask glibc to keep freed memory instead of giving it back and faulting it in again.

    Training frees and takes the same megabytes every step; handing them to the system in
    between costs a tenth of a step of ResNet-18. Without glibc this does nothing.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, (1 << 31) - 1)
