"""fedmpi that kills itself where it writes: `dying.py POINT CALL WORDS...`, the words of fedmpi.

The process dies with SIGKILL on the given call (from 1) of what POINT names; half of it has
been done where that is possible.
"""

import os
import signal
import sys

from fedmpi.cli import main
from fedmpi.record import atomic, checkpoint, store


def die(*_):
    """End this process as SIGKILL does."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying(function, call, half=die, after=False):
    """Return `function`, which on its given call dies instead, after half(*arguments)."""
    left = [call]

    def wrapped(*arguments):
        left[0] -= 1
        if left[0] == 0 and not after:
            half(*arguments)
            die()
        result = function(*arguments)
        if left[0] == 0:
            die()
        return result

    return wrapped


def half_a_part(parts, data):
    """Write half of a part of the checkpoint."""
    parts._file.write(data[: len(data) // 2])
    parts._file.flush()


def half_a_copy(source, target):
    """Copy half of a result file."""
    with open(source, "rb") as old, open(target, "wb") as new:
        new.write(old.read()[: os.path.getsize(source) // 2])


def prepare(point, call):
    """Replace the function that `point` names."""
    if point == "part":
        checkpoint._Parts._append = dying(checkpoint._Parts._append, call, half_a_part)
    elif point == "copy":
        atomic.copy = dying(atomic.copy, call, half_a_copy)
    elif point == "rows":
        store.extend = dying(store.extend, call)
    elif point == "sync":
        os.fsync = dying(os.fsync, call)
    elif point == "rename":
        os.replace = dying(os.replace, call)
    elif point == "renamed":
        os.replace = dying(os.replace, call, after=True)
    elif point == "fresh":
        checkpoint.remove = dying(checkpoint.remove, 1)


POINTS = ("part", "copy", "rows", "sync", "rename", "renamed")

if __name__ == "__main__":
    prepare(sys.argv[1], int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
