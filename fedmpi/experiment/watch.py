"""The watchdog: every rank shows signs of life, and ranks that show none are reported.

The signs are stored in memory that the ranks of a node share, so watching needs no MPI and no
result depends on it. A thread in each rank writes a sign once a second. The thread stops when its
process does (stopped, swapped out, hung in the kernel); another rank of the node then reports it.
If the process has ended and the launcher does not notice (an exit in users' code), the other ranks
would wait for ever; the reporting rank then ends the run.
If the main thread is in an endless loop or waits for a disk for ever, the watching thread goes on:
it sees that the main thread makes no step, and reports where that is. If a whole node stops, the
other nodes report it, see neighbours.py.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from types import FrameType

import numpy as np

from fedmpi import comm as comm_package
from fedmpi.comm.base import Comm
from fedmpi.experiment.neighbours import Neighbours
from fedmpi.round.progress import NO_CLIENT, Progress

TICKS, RANK, SPACE, PROCESS, ROUND, CLIENT = range(6)  # columns of a rank's signs
PAUSE = 1.0  # seconds between two signs
QUIET = 3.0  # seconds without a sign after which a process is checked for having ended
STUCK = 5  # a main thread may take this many times the patience for one step
COMM = str(Path(comm_package.__file__).parent)
SHOWN = 3  # stack frames that a message names
PYTHON = (str(Path(os.__file__).parent), "<frozen")  # where Python's own library is

# What Linux says of a process that shows no signs of life, in /proc/PID/stat.
STATES = {
    "T": "is stopped; kill -CONT {0} lets it go on",
    "t": "is held by a debugger",
    "D": "waits for a disk or a network file system",
    "R": "computes, and lets no other thread of Python run",
    "S": "waits inside a library or a system call",
    "Z": "has ended",
    "": "is gone",
}
ENDED = ("Z", "")


class Watch(Progress):
    """The signs of all ranks on this node, int64[node_size, 6], and the checks of them.

    Attributes
    ----------
    news : list of str
        Warnings of this rank that `take_news` has not returned yet.
    """

    def __init__(self, comm: Comm, patience: float, warn: Callable[[str], None]) -> None:
        self._signs = comm.node_zeros((comm.node_size, 6), np.int64)
        self._rank = comm.node_rank
        self._signs[self._rank, RANK : PROCESS + 1] = comm.rank, _space(), os.getpid()
        self._patience, self._warn, self._abort = patience, warn, comm.abort
        self._seen: dict[int, tuple[int, float]] = {}  # rank on this node -> (ticks, since when)
        self._silent: set[int] = set()
        self._steps = 0
        self._step_seen: tuple[int, float, bool] | None = None  # (steps, since when, whether told)
        self.news: list[str] = []
        self.note(0)

    def note(self, round: int, client: int = NO_CLIENT) -> None:
        """Record the round and the client that this rank works on, and count a step."""
        self._signs[self._rank, ROUND:] = round, client
        self._steps += 1

    def step(self) -> None:
        """Count a step of the main thread."""
        self._steps += 1

    def tick(self) -> None:
        """Write a sign of life."""
        self._signs[self._rank, TICKS] += 1

    def look(self, now: float) -> bool:
        """Warn of each rank that has newly been silent for too long; `now` is in seconds.

        Only the lowest of the ranks that are alive warns, so that a node names each silent rank
        once. Returns whether this rank is the lowest.
        """
        for rank, ticks in enumerate(self._signs[:, TICKS].tolist()):
            known, since = self._seen.get(rank, (-1, now))
            if ticks != known:
                since = now
                self._silent.discard(rank)
            self._seen[rank] = ticks, since
        silent = {rank for rank, (_, since) in self._seen.items() if now - since >= self._patience}
        speaker = min(set(self._seen) - silent, default=self._rank)
        for rank in sorted(silent - self._silent - {self._rank}):
            if speaker == self._rank:
                process = self._signs[rank, PROCESS]
                self.tell(
                    f"{self._named(rank)} has not moved for "
                    f"{self._patience:g} s ({self._doing(rank)}): process {process} "
                    + STATES.get(self._state(rank), "shows no signs of life").format(process)
                )
        self._silent |= silent
        return speaker == self._rank

    def end_with_dead(self, now: float) -> None:
        """End all ranks if the process of another rank on the node has ended; call after `look`."""
        quiet = {rank for rank, (_, since) in self._seen.items() if now - since >= QUIET}
        dead = [rank for rank in sorted(quiet) if self._state(rank) in ENDED]
        if dead and self._rank == min(set(self._seen) - quiet, default=-1):
            self.tell(
                f"{self._named(dead[0])} has left ({self._doing(dead[0])}): process "
                f"{self._signs[dead[0], PROCESS]} has ended without telling MPI, so the run "
                "ends; resume continues it"
            )
            self._abort(1)

    def look_inside(self, now: float, frame: FrameType | None) -> None:
        """Warn if the main thread has made no step for too long; `frame` is its current frame.

        A thread that waits for other ranks is not reported.
        """
        places = list(_places(frame))
        steps, since, told = self._step_seen or (None, now, False)
        waits = not places or any(path.startswith(COMM) for path, _, _ in places)
        if waits or steps != self._steps:
            steps, since, told = self._steps, now, False
        long = STUCK * self._patience
        if now - since >= long and not told:
            told = True
            where = ", ".join(f"{Path(path).name}:{line} {name}" for path, line, name in places)
            self.tell(
                f"{self._named(self._rank)} is alive, but has made no step for "
                f"{long:g} s ({self._doing(self._rank)}): process {os.getpid()} is at {where}"
            )
        self._step_seen = steps, since, told

    def _doing(self, rank: int) -> str:
        """Return a text with the round and client that a rank of this node last recorded."""
        round, client = self._signs[rank, ROUND:].tolist()
        return f"round {round}" + (f", client {client}" if client != NO_CLIENT else "")

    def _named(self, rank: int) -> str:
        """Return the name of a rank of this node for messages."""
        return f"rank {self._signs[rank, RANK]} on {socket.gethostname()}"

    def _state(self, rank: int) -> str:
        """Return `_state` of a rank of this node, or "?" if its process is not visible here."""
        seen = self._signs[rank, SPACE] == self._signs[self._rank, SPACE]
        return _state(self._signs[rank, PROCESS]) if seen else "?"

    def tell(self, text: str) -> None:
        """Warn, and store the text for the result file."""
        self.news.append(text)
        self._warn(text)

    def take_news(self) -> list[str]:
        """Return the warnings since the last call, and forget them."""
        taken, self.news = self.news, []
        return taken


def _places(frame: FrameType | None) -> Iterator[tuple[str, int, str]]:
    """Yield (path, line, function) of a thread's innermost stack frames.

    Of frames in Python's own library only the innermost is included: its callers say more.
    """
    shown = 0
    while frame is not None and shown < SHOWN:
        path = frame.f_code.co_filename
        if shown == 0 or not path.startswith(PYTHON) or "site-packages" in path:
            yield path, frame.f_lineno, frame.f_code.co_name
            shown += 1
        frame = frame.f_back


def _state(process: int) -> str:
    """Return Linux's letter for the state of a process, "" if there is none, "?" elsewhere."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "" if Path("/proc/self/stat").exists() else "?"


def _space() -> int:
    """Return the number of this process's PID namespace, or 0."""
    with suppress(OSError):
        return os.stat("/proc/self/ns/pid").st_ino
    return 0


@contextmanager
def watching(
    comm: Comm, patience: float, warn: Callable[[str], None]
) -> Iterator[Progress]:
    """Watch all ranks while the block runs; yield the Watch. Collective.

    `patience` is the time in seconds after which a rank without a sign of life is reported, 0 for
    never; `warn` is called with the text, in a separate thread.
    """
    if not patience:
        yield Progress()
        return
    watch, over, pause = Watch(comm, patience, warn), threading.Event(), min(PAUSE, patience / 4)
    with Neighbours(comm, patience, pause) as neighbours:
        words = watch, neighbours, over, pause, threading.get_ident()
        thread = threading.Thread(target=_watch, args=words, daemon=True)
        thread.start()
        try:
            yield watch
        finally:
            over.set()
            thread.join(1.0)


def _watch(
    watch: Watch, neighbours: Neighbours, over: threading.Event, pause: float, main: int
) -> None:
    """Write signs and check the others until `over` is set; `main` is the main thread's id."""
    while not over.wait(pause):
        now = monotonic()
        watch.tick()
        speaks = watch.look(now)
        watch.end_with_dead(now)
        watch.look_inside(now, sys._current_frames().get(main))
        for text in neighbours.look(now):
            if speaks:
                watch.tell(text)
