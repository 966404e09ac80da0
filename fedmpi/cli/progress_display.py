"""The progress of a run: a live bar on a terminal, elsewhere a line every few seconds."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from fedmpi.analysis.quantities import digits, duration, in_bytes, in_seconds, score, shortened
from fedmpi.cli.terminal import drop_output, on_terminal, warn
from fedmpi.errors import ResultError

if TYPE_CHECKING:
    from fedmpi.round.columns import RoundRecord

LINE_EVERY = 5.0  # seconds between lines; the first and the last round always get one
WIDE = 72  # columns of a terminal that has room for a bar
BAR = 24  # columns of the bar


def progress_for(kind: str, name: str, sent: int = 0) -> "Silent":
    """Return the progress display of a kind, "auto", "bar", "lines" or "none".

    `sent` is the number of bytes sent in the rounds before the first that it shows.
    """
    if kind == "auto":
        kind = "bar" if on_terminal(os.environ) else "lines"
    return {"bar": LiveBar, "lines": Lines, "none": Silent}[kind](name, sent)


def sent_before(out: str | Path, round: int) -> int:
    """Return the bytes up and down of the rounds before `round`; 0 if the file cannot be read."""
    from fedmpi.record import reader

    with suppress(ResultError), reader.open(out) as run:
        return sum(int(run.rounds[name][:round].sum()) for name in ("bytes_up", "bytes_down"))
    return 0


class Silent:
    """Shows nothing."""

    def __init__(self, name: str, sent: int = 0) -> None:
        self._name = name
        self._accuracy = self._loss = float("nan")  # of the last evaluation
        self._first: tuple[int, float] | None = None  # the first round seen here, and its end
        self._clients, self._bytes = 0, sent  # since then; of all rounds of the run

    def __call__(self, row: "RoundRecord", rounds: int) -> None:
        """Show the round `row` of `rounds`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def _facts(self, columns: Mapping[str, Any], rounds: int) -> tuple[int, list[str]]:
        """Return (rounds done, facts as short texts, the most important first).

        Speed and time left leave out the first round seen here, which includes the start.
        """
        now = monotonic()
        accuracy, loss = columns["test_accuracy"], columns["test_loss"]
        if accuracy == accuracy or loss == loss:  # not NaN: an evaluation
            self._accuracy, self._loss = accuracy, loss
        done = int(columns["round"]) + 1
        self._bytes += int(columns["bytes_up"]) + int(columns["bytes_down"])
        self._clients += int(columns["clients_completed"]) if self._first else 0
        self._first = self._first or (done, now)
        first, since = self._first
        facts = [score(self._accuracy, self._loss) or "accuracy -"]
        passed = now - since
        if first < done and passed > 0:
            if done < rounds:
                facts += [f"{duration(passed / (done - first) * (rounds - done))} left"]
            facts += [f"{digits(self._clients / passed)} clients/s"]
        facts += [f"sent {in_bytes(self._bytes)}",
                  f"virtual time {in_seconds(columns['virtual_time'])}"]
        return done, facts


class LiveBar(Silent):
    """A live bar with as many facts as the terminal has room for."""

    def __init__(self, name: str, sent: int = 0) -> None:
        super().__init__(shortened(name), sent)
        console = Console(force_terminal=True)
        self._room, self._shows = console.width, False
        front = [TextColumn("[bold]{task.description}"), BarColumn(bar_width=BAR)]
        if self._room >= WIDE:
            self._room -= len(self._name) + BAR + 2
        else:
            front = []
        self._progress = Progress(*front, TextColumn("{task.fields[facts]}"), console=console)
        self._task = self._progress.add_task(escape(self._name), total=None, facts="first round")

    def __call__(self, row: "RoundRecord", rounds: int) -> None:
        """Advance the bar by one round."""
        done, facts = self._facts(row.columns, rounds)
        shown = f"{done}/{rounds}"
        for fact in facts:
            if len(shown) + 2 + len(fact) < self._room:
                shown += f"  {fact}"
        self._progress.update(self._task, total=rounds, completed=done, facts=shown)

    def __enter__(self) -> Self:
        with going_on():
            self._progress.start()
            self._shows = True
        return self

    def __exit__(self, *error: object) -> None:
        if self._shows:
            with going_on():
                self._progress.stop()


class Lines(Silent):
    """A line every few seconds, for logs."""

    def __init__(self, name: str, sent: int = 0) -> None:
        super().__init__(name, sent)
        self._last = -LINE_EVERY

    def __call__(self, row: "RoundRecord", rounds: int) -> None:
        """Write a line if LINE_EVERY seconds have passed, or if this is the last round."""
        done, facts = self._facts(row.columns, rounds)
        now = monotonic()
        if now - self._last < LINE_EVERY and done < rounds:
            return
        self._last = now
        with going_on():
            print(f"{self._name}  round {done}/{rounds}  {'  '.join(facts)}", flush=True)


@contextmanager
def going_on() -> Iterator[None]:
    """Discard all further output if the block cannot write its own, so that the run goes on.

    The reader may be gone, the terminal closed, or the disk of a log full.
    """
    try:
        yield
    except OSError as error:
        drop_output()
        if not isinstance(error, BrokenPipeError):
            warn(f"the progress cannot be written ({error.strerror}); the run goes on without it")
