"""Kernel locks on open files, which end with the process that holds them."""

import fcntl
import os
from pathlib import Path


def try_lock(file: int) -> bool | None:
    """Try to lock the open file `file` exclusively, without waiting; return whether it succeeded.

    Returns None on a file system without locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return None


def has_path(file: int, path: str | Path) -> bool:
    """Return whether `path` is still the path of the open file `file`."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
