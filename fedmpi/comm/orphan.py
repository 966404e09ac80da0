"""A rank whose launcher has died ends itself: nobody else would, and it would run for ever.

MPICH's ranks are children of a process that Slurm, a person or a full memory can kill.
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

PAUSE = 1.0  # seconds between two looks
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux


@contextmanager
def dying_with_parent() -> Iterator[None]:
    """Let the system kill this process if its parent dies inside the block.

    For MPI_Init, which waits for the launcher and lets no thread of Python run. Not for longer:
    a launcher may end the very thread that started us, and that is what Linux looks at.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", lambda *_: -1)
    prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_SET_DEATH_SIGNAL, 0, 0, 0, 0)


def end_with(parent: int) -> None:
    """From now on, in a thread, look whether our parent is still process number `parent`."""
    threading.Thread(target=_look, args=(parent,), daemon=True).start()


def _look(parent: int) -> NoReturn:
    """Wait until our parent is another process, and end this one."""
    while os.getppid() == parent:
        time.sleep(PAUSE)
    with suppress(OSError, ValueError):  # where our words would go may be gone too
        sys.stderr.write("fedmpi: the launcher of this rank has died, so the rank ends\n")
    os._exit(1)  # as a kill would: the other ranks are orphans as well, and MPI needs a launcher
