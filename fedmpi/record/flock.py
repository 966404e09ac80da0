"""Locks of the kernel on open files; they end with the process that has them."""

import fcntl
import os
from pathlib import Path


def try_lock(file: int) -> bool | None:
    """Try to lock the open file `file` for this process alone; return whether that succeeded.

    None on a file system without locks. Nobody is waited for.
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
