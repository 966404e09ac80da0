"""Fuzz one format: `python -m tests.fuzz FORMAT CASES [FIRST]`; says what came of the cases.

Case n is made from n alone, so `python -m tests.fuzz FORMAT 1 n` shows a fault again. The
process may take half a gigabyte more than it has at the start and ten seconds a case; a
reader that crashes, hangs, swells or raises another error than its own ends it.
"""

import faulthandler
import random
import resource
import signal
import sys
import tempfile
from pathlib import Path

from fedmpi.errors import FedmpiError
from tests.fuzz.formats import FORMATS

MORE_MEMORY = 512 << 20
SECONDS = 10.0  # of processor time, so that a busy machine is no fault
LONGEST = 3000  # characters that an error may have


def limit_memory():
    """Let this process grow by MORE_MEMORY, and no further."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MORE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def fuzz(name, cases, first=0):
    """Try `cases` cases and return {"refused": n, "read": n}; raises a reader's wrong errors."""
    outcome = {"refused": 0, "read": 0}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        case = FORMATS[name](Path(folder))
        limit_memory()
        for number in range(first, first + cases):
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            try:
                case(random.Random(number))
                outcome["read"] += 1
            except FedmpiError as error:
                outcome["refused"] += 1
                if not 0 < len(str(error)) < LONGEST:
                    raise RuntimeError(f"case {number}: {str(error)[:200]!r}") from error
            except BaseException:
                sys.stderr.write(f"case {number} of {name}\n")
                raise
    return outcome


if __name__ == "__main__":
    faulthandler.enable()
    faulthandler.register(signal.SIGVTALRM, chain=True)  # shows where a case hangs, and ends it
    sys.stdout.write(f"{fuzz(sys.argv[1], *map(int, sys.argv[2:]))}\n")
