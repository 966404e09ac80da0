"""Signs of life beside a result file, which tell whether a "running" run is still alive.

`OUT.alive` names the host and the process that writes the result. That process holds the lock on
the file (see lock.py), touches it every few seconds, and removes it at a regular end of the run.
Through `OUT.failed`, a rank that fails tells the writing rank the reason before it ends all ranks.
"""

import fcntl
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedmpi.record.paths import Out, failed_path, heartbeat_path

PAUSE = 0.5  # seconds between two checks for OUT.failed
BEAT = 3.0  # seconds between two signs of life
FRESH = 15.0  # seconds for which a sign of life is proof enough
LATE = 60.0  # seconds after which a silent run on another host counts as dead
PATIENCE = 3.0  # seconds that a failing rank waits for its reason to be recorded
LONGEST = 1000  # characters that are read of either file


@dataclass(frozen=True)
class Heartbeat:
    """The last sign of life of a run: its `age` in seconds, and its host and process, if known.

    `locked` tells whether a process holds the lock on OUT.alive; None if this is unknown.
    """

    age: float
    host: str = ""
    process: int = 0
    locked: bool | None = None

    @property
    def alive(self) -> bool:
        """True if the run seems to be alive, judged from this host."""
        if not self.process or (self.here and self.locked is False and not self.beats_unlocked):
            return False
        if self.locked or self.age <= FRESH:
            return True
        if self.here and Path("/proc/self").exists():
            return self.exists
        return self.age <= LATE

    @property
    def beats_unlocked(self) -> bool:
        """True if an older fedmpi may have given the sign, since that has no lock.

        A new process with the number of a dead one looks the same until FRESH seconds are over.
        """
        other = self.process != os.getpid() and self.exists
        return bool(self.process) and self.here and other and self.age <= FRESH

    @property
    def here(self) -> bool:
        """True if the process is on this host, or unknown."""
        return self.host in ("", socket.gethostname())

    @property
    def exists(self) -> bool:
        """True if a process on this host has the number `process`, and has not ended."""
        return self._state not in ("", "Z")

    @property
    def stopped(self) -> bool:
        """True if the process on this host with the number `process` is stopped."""
        return self._state == "T"

    @property
    def _state(self) -> str:
        """The system's letter for the state of the process, "" if there is no process."""
        try:
            return read(Path(f"/proc/{self.process}/stat")).rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return ""

    @property
    def text(self) -> str:
        """Time and place of the sign of life, in words."""
        where = f" from process {self.process} on {self.host}" if self.process else ""
        return f"{self.when}{where}"

    @property
    def when(self) -> str:
        """Time since the sign of life, in words."""
        return f"last sign of life {_ago(self.age)} ago"


def last_heartbeat(out: Out) -> Heartbeat:
    """Return the Heartbeat of a run with the status "running"; `out` is its result file."""
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
    """Return whether a process holds the lock on an open file, or None without locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_UN)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None


def report_failure(out: Out, reason: str) -> None:
    """Tell the rank that writes `out` why this rank fails; wait briefly until it is recorded."""
    path, end = failed_path(out), time.monotonic() + PATIENCE
    with suppress(OSError):
        path.write_text(reason[:LONGEST], "utf-8", "replace")
        while path.exists() and time.monotonic() < end:
            time.sleep(0.05)
        path.unlink(missing_ok=True)


def own_line() -> str:
    """Return the line of OUT.alive for this process, with its host and its number."""
    return f"{socket.gethostname()} {os.getpid()}\n"


def read(path: Path) -> str:
    """Return the text of a file, up to LONGEST characters. Raises OSError."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(LONGEST)


def _ago(seconds: float) -> str:
    """Return a duration in words."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{min(seconds, 1e9):.0f} s"
