"""A run that kills itself, or waits to be killed, while it writes: `killed.py FILE POINT [START]`.

POINT says where in the third commit it dies with SIGKILL; "never" makes it write for ever.
"""

import os
import signal
import sys

from fedmpi.record import atomic, reader, store
from fedmpi.record.writer import Writer
from tests.record import sample


def dying(function, call, after=False):
    """Return `function`, which on its given call (from 1) kills the process, before or after."""
    left = [call]

    def wrapped(*arguments):
        left[0] -= 1
        if left[0] == 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped


def half(source, target):
    """Copy half of a file and die."""
    with open(source, "rb") as old, open(target, "wb") as new:
        new.write(old.read()[: os.path.getsize(source) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def main(path, point):
    """Write rounds and commit each, two and a half times or for ever."""
    if os.path.exists(path):
        with reader.open(path) as run:
            start = len(run.rounds)
        out = Writer.reopen(path, start)
    else:
        out, start = Writer.create(path, **sample.fixed()), 0
    for number in range(start, 1 << 30):
        if number == start + 2:
            if point == "copy":
                atomic.copy = half
            elif point == "rows":
                store.extend = dying(store.extend, 20)
            elif point == "close":
                os.fsync = dying(os.fsync, 1)
            elif point == "rename":
                os.replace = dying(os.replace, 1)
            elif point == "renamed":
                os.replace = dying(os.replace, 1, after=True)
        out.append(*sample.one_round(number))
        out.commit()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
