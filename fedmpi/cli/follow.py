"""The verb watch: follow a run or a submitted job on one line, until it ends.

It needs neither MPI nor torch, and changes no file.
"""

import math
import os
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from shlex import quote
from time import monotonic, sleep
from typing import TYPE_CHECKING

from fedmpi.cli.startup import CLEAR
from fedmpi.cli.terminal import printable, rewrites
from fedmpi.cli.words import Verbs
from fedmpi.errors import ConfigError, ResultError

if TYPE_CHECKING:
    from fedmpi.record.reader import Run

LINE_EVERY = 10.0  # seconds between lines without a terminal
ASK_EVERY = 15.0  # seconds between two queries to a scheduler
PATIENCE = 60.0  # seconds to wait for the file, or the next job, of a job that left the queue
DAY = 86_400  # seconds, the longest wait between two looks
RECENT = 20  # rounds from which the time left is estimated
CODES = {"finished": 0, "failed": 1, "stopped": 75}  # exit codes of runs that ended


def add_verbs(verbs: Verbs) -> None:
    """Add the verb of this module to the parser."""
    from fedmpi.cli import verb

    parser = verb(verbs, watch, "follow a run or a submitted job until it ends",
                  "fedmpi watch out.h5 && fedmpi report out.h5 -o out.html")
    parser.add_argument("out", metavar="OUT", type=Path, help="result file")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks (2)")


def watch(args: Namespace) -> int:
    """Follow a run on one line: round, accuracy, speed, totals, time left and the job's state.

    It waits for a job that is queued, or was preempted and is queued again. The exit code is 0
    for a run that finished, 75 for a run that stopped early, 1 for a run that failed or died.
    """
    if not 0 < args.every <= DAY:
        raise ConfigError(f"--every {args.every:g}: must be above 0 and at most {DAY} seconds")
    line, job = Line(rewrites(sys.stdout, os.environ)), QueuedJob(args.out)
    try:
        while True:
            text, code = look(args.out, job)
            line.show(text, last=code is not None)
            if code is not None:
                return code
            sleep(args.every)
    finally:
        line.end()


def look(out: Path, job: "QueuedJob") -> tuple[str, int | None]:
    """Return (a line on the run's present state, its exit code or None while it goes on).

    Raises ResultError for a run that cannot be followed.
    """
    if not out.exists():
        return _before(out, job)
    from fedmpi.record import reader

    with reader.open(out) as run:
        text, status, beat, events = facts(run), run.status, run.heartbeat, run.events
    if status in ("finished", "failed") and not job.waits():
        reason = f": {events[-1]['text']}" if status == "failed" and events else ""
        return f"{text}  {status}{reason}", CODES[status]
    if status == "running" and beat and beat.alive:
        return text + job.words(), None
    if job.goes_on():  # killed or stopped; the scheduler starts it again
        return f"{text}  waits for {job.words().strip()}", None
    if status == "stopped":
        return f"{text}  stopped; continue with: fedmpi resume {quote(str(out))}", CODES[status]
    last = beat.text if beat else status
    raise ResultError(f"{out}: the run is no longer alive: {last}; continue with: "
                      f"fedmpi resume {quote(str(out))}")


def _before(out: Path, job: "QueuedJob") -> tuple[str, int | None]:
    """Return the result of `look` while there is no result file yet."""
    from fedmpi.scheduler.snapshot import log_of

    if not job.known():
        raise ResultError(f"{out}: no such file, and no job was submitted for it; "
                          "give the name after -o of run or submit")
    if job.goes_on():
        return f"{out.name}  waits for {job.words().strip()}", None
    raise ResultError(f"{out}: {job.name} has ended and left no result; its log is "
                      f"{log_of(out)}")


def facts(run: "Run") -> str:
    """Return one line on a run: rounds, accuracy, time left, speed, and totals since its start."""
    from fedmpi.analysis.compare import setting
    from fedmpi.analysis.quantities import digits, duration, in_bytes, in_seconds, score, shortened

    rounds, done, wall = run.rounds, len(run.rounds), run.rounds["wall_time"]
    planned = setting(run, "run", "rounds", "")
    total = int(planned) if planned.isdecimal() and len(planned) < 19 else done
    tested = run.rounds["test_accuracy"], run.rounds["test_loss"]
    last = [values[values == values][-1:] for values in tested]  # without NaN
    shown = score(*(float(values[0]) if values.size else math.nan for values in last))
    words = [shortened(setting(run, "run", "name", "")), f"round {done}/{total}"]
    words += [shown] if shown else []
    first = max(0, done - 1 - RECENT)
    passed = float(wall[-1] - wall[first]) if done > 1 else 0.0
    if passed > 0 and run.status == "running":
        left = passed / (done - 1 - first) * (total - done)
        words += [f"{duration(left)} left"] if left >= 0 else []
        clients = int(rounds["clients_completed"][first + 1:].sum())
        words += [f"{digits(clients / passed)} clients/s"]
    sent = int(rounds["bytes_up"].sum()) + int(rounds["bytes_down"].sum())
    words += [f"sent {in_bytes(sent)}"]
    words += [f"virtual time {in_seconds(float(rounds['virtual_time'][-1]))}"] if done else []
    return "  ".join(words)


def fitting(text: str, width: int) -> str:
    """Return as many facts of `text`, separated by two blanks, as fit a terminal of `width`."""
    if len(text) < width:
        return text
    return text[: width + 1].rpartition("  ")[0] or text[: width - 1]


class QueuedJob:
    """The batch job, if any, that writes a result file."""

    def __init__(self, out: Path) -> None:
        self._out = out.absolute()
        self._found: tuple[str, str] | None = None  # its number and its state
        self._asked: float | None = None
        self._seen = -PATIENCE  # when it was last queued or running

    @property
    def name(self) -> str:
        """The job's name for messages, "job NUMBER" or "no job"."""
        return f"job {self._found[0]}" if self._found else "no job"

    def known(self) -> bool:
        """Return whether a job was submitted."""
        self._ask()
        return self._found is not None

    def goes_on(self) -> bool:
        """Return whether the job is queued or running, or was within the last PATIENCE seconds."""
        self._ask(fresh=True)
        return self.known() and monotonic() - self._seen < PATIENCE

    def waits(self) -> bool:
        """Return whether the job is in the queue."""
        from fedmpi.scheduler.snapshot import queued

        self._ask()
        return self._found is not None and queued(self._found[1])

    def words(self) -> str:
        """Return the job's number and state after two blanks, "" without a job."""
        self._ask()
        return f"  {self.name} {self._found[1] or 'left the queue'}" if self._found else ""

    def _ask(self, fresh: bool = False) -> None:
        """Query the scheduler, unless the last query was a moment ago."""
        from fedmpi.scheduler import snapshot

        now, pause = monotonic(), ASK_EVERY / 5 if fresh else ASK_EVERY
        if self._asked is not None and now - self._asked < pause:
            return
        before, self._asked = self._found, now
        self._found = snapshot.state_of(self._out, os.environ)
        if self._found and (self._found[1] or (before and before[0] != self._found[0])):
            self._seen = now


class Line:
    """A line that is rewritten on a terminal; elsewhere a new line for a change, at intervals."""

    def __init__(self, live: bool) -> None:
        self._live, self._said = live, -LINE_EVERY
        self._text: str | None = None

    def show(self, text: str, last: bool = False) -> None:
        """Show the text; without a terminal only changes, every LINE_EVERY seconds, and `last`."""
        now, text = monotonic(), printable(text)
        if self._live:
            width = shutil.get_terminal_size().columns
            self._write(f"{CLEAR}{text if last else fitting(text, width)}")
        elif last or (text != self._text and now - self._said >= LINE_EVERY):
            self._said, self._text = now, text
            self._write(f"{text}\n")

    def end(self) -> None:
        """Move the cursor to the start of a new line."""
        if self._live:
            self._write("\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
