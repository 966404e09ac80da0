"""Signs of life of a run, beside its result file: whether "running" is still true.

`OUT.alive` names the host and the process that writes the result, which holds the lock on it (see
lock.py) and touches it every few seconds; it is gone when the run has ended in order. `OUT.failed`
is how another rank that fails tells the writing one why, before it ends all ranks.
"""

import fcntl
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedmpi.record.paths import Out, failed_path, heartbeat_path

PAUSE = 0.5  # seconds between two looks at what other ranks say
BEAT = 3.0  # seconds between two signs
FRESH = 15.0  # seconds for which a sign is proof enough
LATE = 60.0  # seconds after which a run on another host counts as dead
PATIENCE = 3.0  # seconds that a failing rank waits for its reason to be written down
LONGEST = 1000  # bytes of either file that are read


@dataclass(frozen=True)
class Heartbeat:
    """The last sign of life: its `age` in seconds, and the process that gave it, if known.

    `locked` says whether a process has the lock on the file of signs, None where nobody knows.
    """

    age: float
    host: str = ""
    process: int = 0
    locked: bool | None = None

    @property
    def alive(self) -> bool:
        """Whether the run goes on, as far as can be told from here."""
        if not self.process or (self.here and self.locked is False):
            return False
        if self.locked or self.age <= FRESH:
            return True
        if self.here and Path("/proc/self").exists():
            return self.exists
        return self.age <= LATE

    @property
    def here(self) -> bool:
        """Whether the process is on this host; an unknown process counts as here."""
        return self.host in ("", socket.gethostname())

    @property
    def exists(self) -> bool:
        """Whether a process has that number on this host."""
        return Path(f"/proc/{self.process}").exists()

    @property
    def stopped(self) -> bool:
        """Whether the process with that number on this host is stopped."""
        try:
            return read(Path(f"/proc/{self.process}/stat")).rpartition(")")[2].split()[0] == "T"
        except (OSError, IndexError):
            return False

    @property
    def text(self) -> str:
        """When and where it was, in words."""
        where = f" from process {self.process} on {self.host}" if self.process else ""
        return f"{self.when}{where}"

    @property
    def when(self) -> str:
        """When it was, in words."""
        return f"last sign of life {_ago(self.age)} ago"


def last_heartbeat(out: Out) -> Heartbeat:
    """Return that of a run that says it is running; `out` is its result file."""
    try:
        with open(heartbeat_path(out), encoding="utf-8", errors="replace") as file:
            age = max(0.0, time.time() - os.fstat(file.fileno()).st_mtime)
            host, process = file.read(LONGEST).split()
            return Heartbeat(age, host[:64], int(process), _locked(file.fileno()))
    except (OSError, ValueError):
        with suppress(OSError):
            return Heartbeat(max(0.0, time.time() - os.stat(out).st_mtime))
        return Heartbeat(float("inf"))


def _locked(file: int) -> bool | None:
    """Say whether a process has the lock on an open file; None where there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_UN)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None


def report_failure(out: Out, reason: str) -> None:
    """Tell the rank that writes `out` why this one fails; wait a little until it is recorded."""
    path, end = failed_path(out), time.monotonic() + PATIENCE
    with suppress(OSError):
        path.write_text(reason[:LONGEST], "utf-8", "replace")
        while path.exists() and time.monotonic() < end:
            time.sleep(0.05)
        path.unlink(missing_ok=True)


def own_line() -> str:
    """Return what OUT.alive says of this process: its host and its number."""
    return f"{socket.gethostname()} {os.getpid()}\n"


def read(path: Path) -> str:
    """Return the text of one of the two files, as far as it may be long. Raises OSError."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(LONGEST)


def _ago(seconds: float) -> str:
    """Return a length of time in words."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{min(seconds, 1e9):.0f} s"
