"""Signs of life of a run, beside its result file: whether "running" is still true.

`OUT.alive` names the host and the process that writes the result, and is touched every few
seconds; it is gone when the run has ended in order. `OUT.failed` is how another rank that fails
tells the writing one why, before it ends all ranks.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Out: TypeAlias = str | os.PathLike[str]
"""The path of a result file."""

PAUSE = 0.5  # seconds between two looks at what other ranks say
BEAT = 3.0  # seconds between two signs
FRESH = 15.0  # seconds for which a sign is proof enough
LATE = 60.0  # seconds after which a run on another host counts as dead
PATIENCE = 3.0  # seconds that a failing rank waits for its reason to be written down
LONGEST = 1000  # bytes of either file that are read


@dataclass(frozen=True)
class Sign:
    """The last sign of life: its `age` in seconds, and the process that gave it, if known."""

    age: float
    host: str = ""
    process: int = 0

    @property
    def alive(self) -> bool:
        """Whether the run goes on, as far as can be told from here."""
        if not self.process:
            return False
        if self.age <= FRESH:
            return True
        if self.host == socket.gethostname() and Path("/proc/self").exists():
            return Path(f"/proc/{self.process}").exists()
        return self.age <= LATE

    @property
    def text(self) -> str:
        """When and where it was, in words."""
        where = f" from process {self.process} on {self.host}" if self.process else ""
        return f"last sign of life {_ago(self.age)} ago{where}"


def last_sign(out: Out) -> Sign:
    """Return the Sign of a run that says it is running; `out` is its result file."""
    path = _alive(out)
    try:
        age = max(0.0, time.time() - os.stat(path).st_mtime)
        host, process = _read(path).split()
        return Sign(age, host[:64], int(process))
    except (OSError, ValueError):
        with suppress(OSError):
            return Sign(max(0.0, time.time() - os.stat(out).st_mtime))
        return Sign(float("inf"))


@contextmanager
def signs_of_life(out: Out, fail: Callable[[str], None]) -> Iterator[None]:
    """Give signs of life while the block runs, on the rank that writes `out`.

    `fail(reason)` is called in a thread when another rank says that it fails.
    """
    over = threading.Event()
    with suppress(OSError):
        _failed(out).unlink(missing_ok=True)
        _alive(out).write_text(f"{socket.gethostname()} {os.getpid()}\n")
    thread = threading.Thread(target=_beat, args=(out, fail, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE)
        for path in (_alive(out), _failed(out)):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def tell(out: Out, reason: str) -> None:
    """Say from another rank why it fails, and wait a little until that is written down."""
    path, end = _failed(out), time.monotonic() + PATIENCE
    with suppress(OSError):
        path.write_text(reason[:LONGEST], "utf-8", "replace")
        while path.exists() and time.monotonic() < end:
            time.sleep(0.05)
        path.unlink(missing_ok=True)


def _beat(out: Out, fail: Callable[[str], None], over: threading.Event) -> None:
    """Touch OUT.alive, and pass on what OUT.failed says, until `over` is set."""
    beaten = time.monotonic()
    while not over.wait(PAUSE):
        if _failed(out).exists():
            with suppress(Exception):  # this rank is being ended: nobody could hear of it
                fail(_read(_failed(out)) or "a rank failed")
            for path in (_alive(out), _failed(out)):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        if time.monotonic() - beaten >= BEAT:
            beaten = time.monotonic()
            with suppress(OSError):
                os.utime(_alive(out))


def _alive(out: Out) -> Path:
    return Path(f"{out}.alive")


def _failed(out: Out) -> Path:
    return Path(f"{out}.failed")


def _read(path: Path) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(LONGEST)


def _ago(seconds: float) -> str:
    """Return a length of time in words."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{min(seconds, 1e9):.0f} s"
