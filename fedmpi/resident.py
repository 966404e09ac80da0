"""Bytes of this process in memory, now and at the peak."""

import re
import resource
import sys
from pathlib import Path


def resident() -> int:
    """Return the bytes of this process in memory now, or the peak if they are unknown."""
    return _status("VmRSS") or _most()


def peak() -> int:
    """Return the most bytes that this process has had in memory.

    Linux includes the memory of a program's parent in the program's `ru_maxrss`, so the number is
    taken from the process's status if there is one.
    """
    return _status("VmHWM") or _most()


def _status(name: str) -> int | None:
    """Return a number of /proc/self/status in bytes, or None if it is not available."""
    try:
        found = re.search(rf"^{name}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _most() -> int:
    """Return `ru_maxrss` in bytes; its unit is a byte on macOS and a kibibyte elsewhere."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
