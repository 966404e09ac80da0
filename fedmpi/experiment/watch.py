"""Who is alive: every rank shows signs of life, and those that show none are named.

The signs lie in memory that the ranks of a node share, so watching needs no MPI and no result
depends on it. A thread in each rank writes a sign once a second. It stands still when the
process does (stopped, swapped out, hung in the kernel): then another rank of the node says so.
Where the process has ended, the others would wait for it for ever if the launcher does not see it
(an exit in users' code): that rank ends the run.
It goes on where the rank trains in an endless loop or waits for a disk for ever: then the rank
says so itself, since its thread sees that the main one makes no step and where it is. A node
that stands still as a whole is named by the other nodes, see neighbours.py.
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
QUIET = 3.0  # seconds without a sign after which a process may have ended
STUCK = 5  # times the patience: how long a main thread may take for one step
COMM = str(Path(comm_package.__file__).parent)
SHOWN = 3  # places in the code that a message names
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
    """The signs of all ranks on this node, int64[node_size, 6], and what to make of them.

    Attributes
    ----------
    news : list of str
        Warnings of this rank that nobody has taken yet.
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
        """Show what this rank is doing."""
        self._signs[self._rank, ROUND:] = round, client
        self._steps += 1

    def step(self) -> None:
        """Note that the main thread has come further."""
        self._steps += 1

    def tick(self) -> None:
        """Show a sign of life."""
        self._signs[self._rank, TICKS] += 1

    def look(self, now: float) -> bool:
        """Warn of each rank that has newly been silent for too long; `now` in seconds.

        Of the ranks that are well the lowest speaks, so that each is named once on a node.
        Returns whether this rank is that one.
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
        """End all ranks if the process of another on this node has ended; `look` comes before."""
        quiet = {rank for rank, (_, since) in self._seen.items() if now - since >= QUIET}
        dead = [rank for rank in sorted(quiet) if self._state(rank) in ENDED]
        if dead and self._rank == min(set(self._seen) - quiet, default=-1):
            self.tell(
                f"{self._named(dead[0])} has left ({self._doing(dead[0])}): process "
                f"{self._signs[dead[0], PROCESS]} has ended without a word to MPI, so the run "
                "ends; resume continues"
            )
            self._abort(1)

    def look_inside(self, now: float, frame: FrameType | None) -> None:
        """Warn if the main thread has made no step for too long; `frame` is where it is now.

        A thread that waits for other ranks is well.
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
        """Say in words what a rank of this node last noted."""
        round, client = self._signs[rank, ROUND:].tolist()
        return f"round {round}" + (f", client {client}" if client != NO_CLIENT else "")

    def _named(self, rank: int) -> str:
        """Name a rank of this node in words."""
        return f"rank {self._signs[rank, RANK]} on {socket.gethostname()}"

    def _state(self, rank: int) -> str:
        """Return what _state says of a rank of this node, "?" of processes not seen from here."""
        seen = self._signs[rank, SPACE] == self._signs[self._rank, SPACE]
        return _state(self._signs[rank, PROCESS]) if seen else "?"

    def tell(self, text: str) -> None:
        """Warn, and keep the text for the result file."""
        self.news.append(text)
        self._warn(text)

    def take_news(self) -> list[str]:
        """Return the warnings since the last call, and forget them."""
        taken, self.news = self.news, []
        return taken


def _places(frame: FrameType | None) -> Iterator[tuple[str, int, str]]:
    """Yield (path, line, function) of a thread's innermost places in the code.

    Of those in Python's own library only the innermost: code that waits in it tells more.
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
    """Return the number of the namespace that the number of this process belongs to, or 0."""
    with suppress(OSError):
        return os.stat("/proc/self/ns/pid").st_ino
    return 0


@contextmanager
def watching(
    comm: Comm, patience: float, warn: Callable[[str], None]
) -> Iterator[Progress]:
    """Watch over all ranks while the block runs; gives the Watch. Collective.

    `patience` are the seconds after which a rank without a sign of life is named, 0 for
    never; `warn` takes the text, in a thread of its own.
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
    """Tick and look around until it is over; `main` is the thread that does the work."""
    while not over.wait(pause):
        now = monotonic()
        watch.tick()
        speaks = watch.look(now)
        watch.end_with_dead(now)
        watch.look_inside(now, sys._current_frames().get(main))
        for text in neighbours.look(now):
            if speaks:
                watch.tell(text)
