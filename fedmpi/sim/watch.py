"""Who is alive: every rank shows signs of life, and one of them names those that show none.

The signs lie in memory that the ranks of a node share, so watching sends no message and no
result depends on it. A thread in each rank writes a sign once a second; it stands still when
the process does (stopped, swapped out, hung in the kernel), and not when the rank waits for
others or trains for long. A node that stands still as a whole has nobody left to say so.
"""

import socket
import threading
from contextlib import contextmanager
from time import monotonic

TICKS, RANK, ROUND, CLIENT = range(4)  # columns of a rank's signs
NOBODY = -1  # in CLIENT: the rank trains no client
PAUSE = 1.0  # seconds between two signs


class Watch:
    """The signs of all ranks on this node, int64[node_size, 4], and what to make of them.

    Attributes
    ----------
    news : list of str
        Warnings of this rank that nobody has taken yet.
    """

    def __init__(self, comm, patience, warn):
        self._signs, self._rank = comm.node_signs(4), comm.node_rank
        self._signs[self._rank, RANK] = comm.rank
        self._patience, self._warn = patience, warn
        self._seen = {}  # rank on this node -> (its ticks, when they were new)
        self._silent = set()
        self.news = []
        self.note(0)

    def note(self, round, client=NOBODY):
        """Show what this rank is doing."""
        self._signs[self._rank, ROUND:] = round, client

    def tick(self):
        """Show a sign of life."""
        self._signs[self._rank, TICKS] += 1

    def look(self, now):
        """Warn of each rank that has newly been silent for too long; `now` in seconds.

        Of the ranks that are well the lowest speaks, so that each is named once on a node.
        """
        for rank, ticks in enumerate(self._signs[:, TICKS].tolist()):
            known, since = self._seen.get(rank, (None, now))
            if ticks != known:
                known, since = ticks, now
                self._silent.discard(rank)
            self._seen[rank] = known, since
        silent = {rank for rank, (_, since) in self._seen.items() if now - since >= self._patience}
        speaker = min(set(self._seen) - silent, default=self._rank)
        for rank in sorted(silent - self._silent - {self._rank}):
            if speaker == self._rank:
                self._tell(rank)
        self._silent |= silent

    def _tell(self, rank):
        _, number, round, client = self._signs[rank].tolist()
        doing = f"round {round}" + (f", client {client}" if client != NOBODY else "")
        text = (
            f"rank {number} on {socket.gethostname()} has not moved for "
            f"{self._patience:g} s ({doing}); see whether it is stopped"
        )
        self.news.append(text)
        self._warn(text)

    def take_news(self):
        """Return the warnings since the last call, and forget them."""
        taken, self.news = self.news, []
        return taken


class Blind:
    """The watch of a rank that is alone: there is nobody to watch."""

    def note(self, round, client=NOBODY):
        """Show it to nobody."""

    def take_news(self):
        """Return no warnings."""
        return []


@contextmanager
def watching(comm, patience, warn):
    """Watch over the ranks of this node while the block runs; gives the Watch. Collective.

    `patience` are the seconds after which a rank without a sign of life is named, 0 for
    never; `warn` takes the text, in a thread of its own.
    """
    if comm.size == 1 or not patience:
        yield Blind()
        return
    watch, over = Watch(comm, patience, warn), threading.Event()
    thread = threading.Thread(target=_watch, args=(watch, over, patience), daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join(1.0)


def _watch(watch, over, patience):
    """Tick and look around until it is over."""
    while not over.wait(min(PAUSE, patience / 4)):
        watch.tick()
        watch.look(monotonic())
