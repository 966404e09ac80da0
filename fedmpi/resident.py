"""How many bytes of this process are in memory, now and at most."""

import re
import resource
import sys
from pathlib import Path


def resident() -> int:
    """Return the bytes of this process that are in memory now; where unknown, the most so far."""
    return _status("VmRSS") or _most()


def peak() -> int:
    """Return the most bytes that this process has had in memory.

    Linux counts what a program's parent held towards the program's own `ru_maxrss`, so the
    number comes from the process's status where there is one.
    """
    return _status("VmHWM") or _most()


def _status(name: str) -> int | None:
    """Return a number of /proc/self/status in bytes, or None where there is no such file."""
    try:
        found = re.search(rf"^{name}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _most() -> int:
    """Return `ru_maxrss` in bytes; its unit is a byte on a Mac and a kibibyte elsewhere."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
