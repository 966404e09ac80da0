"""The lock on a result file: the run that writes the file has locked `OUT.alive`, which names it.

The kernel releases a lock when its process ends, however it ends, so a dead run blocks no other
run. Some cluster file systems apply locks to one node only, or have none. In these cases the signs
of life decide: a process on another host that has given none for a while counts as dead. They also
decide about a process on this host without a lock: earlier versions gave signs, but had no locks.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from shlex import quote

from fedmpi.errors import ResultError
from fedmpi.record import heartbeat
from fedmpi.record.flock import has_path, try_lock
from fedmpi.record.heartbeat import Heartbeat, last_heartbeat
from fedmpi.record.paths import Out, failed_path, heartbeat_path

BRIEF = 1.0  # most seconds for which a reader, or a run that is ending, holds the lock
LEASE = 120.0  # seconds after which a file server releases the locks of a node that is gone
PAUSE = 0.1  # seconds between two attempts
QUIET = 2.0  # seconds of waiting before the user is told

_LOCKED: set[int] = set()  # descriptors with a lock of this process


def _close_inherited() -> None:
    """Close inherited descriptors in a child process, so that locks end with its parent."""
    while _LOCKED:
        with suppress(OSError):
            os.close(_LOCKED.pop())


os.register_at_fork(after_in_child=_close_inherited)


class ResultLock:
    """The right to write the result file `out`; it gives signs of life until it is closed."""

    def __init__(self, out: Out, file: int) -> None:
        """Take over the locked descriptor `file` of OUT.alive. Use `locked` instead."""
        self._out, self._file, self._owner = out, file, os.getpid()
        self._fail: Callable[[str], None] | None = None
        self._over = threading.Event()
        _LOCKED.add(file)
        with suppress(OSError):  # a full disk
            failed_path(out).unlink(missing_ok=True)
            os.ftruncate(file, 0)
            os.pwrite(file, heartbeat.own_line().encode(), 0)
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def on_failure(self, fail: Callable[[str], None]) -> None:
        """Let a thread call `fail(reason)` when another rank reports that it fails."""
        self._fail = fail

    def close(self) -> None:
        """Release the lock, and remove the files beside the result; not in a child process."""
        self._over.set()
        self._thread.join(heartbeat.PATIENCE)
        if os.getpid() == self._owner:
            self._remove_files()
            _LOCKED.discard(self._file)
            os.close(self._file)

    def _beat(self) -> None:
        """Touch OUT.alive and pass on the reason in OUT.failed, until the lock is closed."""
        beaten, failed = time.monotonic(), failed_path(self._out)
        while not self._over.wait(heartbeat.PAUSE):
            if self._fail and failed.exists():
                with suppress(Exception):  # this rank is about to end, so no error could be shown
                    self._fail(heartbeat.read(failed) or "a rank failed")
                self._remove_files()
            if time.monotonic() - beaten >= heartbeat.BEAT:
                beaten = time.monotonic()
                with suppress(OSError):
                    os.utime(self._file)

    def _remove_files(self) -> None:
        """Remove both files, unless OUT.alive is now the file of another run."""
        with suppress(OSError):
            if has_path(self._file, heartbeat_path(self._out)):
                failed_path(self._out).unlink(missing_ok=True)
                heartbeat_path(self._out).unlink()


@contextmanager
def locked(out: Out, say: Callable[[str], None] = lambda text: None) -> Iterator[ResultLock]:
    """Keep other runs off the result file `out` during the block, and yield the ResultLock.

    Raises ResultError if a live run writes the file. `say(text)` is called if it takes a while to
    find out whether a run on another host is alive.
    """
    lock = ResultLock(out, _acquired(out, say))
    try:
        yield lock
    finally:
        lock.close()


def _acquired(out: Out, say: Callable[[str], None]) -> int:
    """Return a locked descriptor of OUT.alive, once its last run is known to be dead."""
    path, began, first, said = heartbeat_path(out), time.monotonic(), 0, False
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise ResultError(f"{path}: cannot be written ({error.strerror}), and a run needs it "
                              "to keep other runs off its result; check space, quota and rights"
                              ) from error
        try:
            free, seen = try_lock(file), os.fstat(file).st_mtime_ns
            last, passed, first = last_heartbeat(out), time.monotonic() - began, first or seen
            doubt, patience = _limits(last, free)
            if free is not False and passed >= doubt and has_path(file, path):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        if (last.process and seen != first) or passed >= patience:
            raise ResultError(f"{out}: {writer_of(out, last)}")
        limit = min(doubt, patience)
        if not said and passed >= QUIET and last.process:
            said = True
            say(f"{out}: waits up to {limit:.0f} s to see whether process {last.process} on "
                f"{last.host} still writes it")
        time.sleep(PAUSE)


def _limits(last: Heartbeat, free: bool | None) -> tuple[float, float]:
    """Return (doubt, patience), the seconds after which a run counts as dead, or as alive.

    A silent run counts as dead after `doubt` seconds. A run whose lock or process exists counts as
    alive after `patience` seconds. `free` tells whether the lock was free, None without locks.
    """
    if free is False:
        return math.inf, BRIEF if last.here else LEASE
    if free and last.beats_unlocked:
        return heartbeat.FRESH, math.inf
    gone = free or not last.exists or last.process == os.getpid()
    if not last.process or (last.here and gone):
        return 0.0, math.inf
    return (math.inf, BRIEF) if last.here else (heartbeat.FRESH, math.inf)


def writer_of(out: Out, last: Heartbeat) -> str:
    """Return a text with the writer of the result file `out`, by its Heartbeat, and advice."""
    if not last.process:
        return "another process is writing it; wait for it to end"
    text = f"process {last.process} on {last.host} is writing it ({last.when})"
    if last.here and last.stopped:
        return (f"{text} and is stopped; kill -CONT {last.process} lets it go on, "
                f"kill -9 {last.process} ends it")
    there = "" if last.here else f"on {last.host}, "
    text += f"; wait for it, or end it first: {there}kill {last.process}"
    if last.age > heartbeat.LATE:
        text += ("; if that is no longer a fedmpi process, remove "
                 f"{quote(str(heartbeat_path(out)))}")
    return text


def check_free(out: Out) -> None:
    """Raise ResultError if a live run seems to be writing the result file `out`."""
    if (last := last_heartbeat(out)).alive:
        raise ResultError(f"{out}: {writer_of(out, last)}")
