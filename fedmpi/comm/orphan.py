"""End a rank whose launcher has died, since nothing else would and it would run forever.

MPICH's ranks are children of a process that Slurm, a user or the out-of-memory killer can kill.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

PAUSE = 1.0  # seconds between two checks
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux


@contextmanager
def dying_with_parent() -> Iterator[None]:
    """Let the system kill this process if its parent dies inside the block.

    This is meant for MPI_Init, which waits for the launcher and blocks all other Python threads.
    It must not cover more than that: Linux watches the thread that started this process, and a
    launcher may end that thread.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", lambda *_: -1)
    prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_SET_DEATH_SIGNAL, 0, 0, 0, 0)


def end_with(parent: int) -> None:
    """Start a thread that ends this process when its parent is no longer process `parent`."""
    threading.Thread(target=_look, args=(parent,), daemon=True).start()


def _look(parent: int) -> NoReturn:
    """Wait until this process has another parent, then end it."""
    while os.getppid() == parent:
        time.sleep(PAUSE)
    with suppress(OSError, ValueError):  # stderr may be gone too
        sys.stderr.write("fedmpi: the launcher of this rank has died, so the rank ends\n")
    os._exit(1)  # no MPI_Abort, which needs a launcher; the other ranks are orphans and end too
