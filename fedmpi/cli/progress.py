"""How a run tells that it goes on: a live bar on a terminal, else a line now and then."""

import sys
from time import monotonic

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from fedmpi.analysis.quantities import in_bytes

LINE_EVERY = 5.0  # seconds between lines; the first and the last round always get one
WIDE, FULL = 72, 110  # columns of a terminal that has room for a bar, and for all facts


def progress_for(kind, name):
    """Return the progress display: kind is "auto", "bar", "lines" or "none"."""
    if kind == "auto":
        kind = "bar" if sys.stdout.isatty() else "lines"
    return {"bar": Bar, "lines": Lines, "none": Silent}[kind](name)


class Silent:
    """Says nothing."""

    def __init__(self, name):
        self._name = name
        self._accuracy = float("nan")
        self._first = None  # the first round seen here, and when it was done

    def __call__(self, row, rounds):
        """Take note of nothing."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def _seen(self, columns, rounds):
        """Return the number of rounds done and what is left in words, "" if not known.

        The first round seen here is not counted: start-up, or what a run that goes on had done.
        """
        accuracy, now = columns["test_accuracy"], monotonic()
        self._accuracy = self._accuracy if accuracy != accuracy else accuracy
        done = int(columns["round"]) + 1
        self._first = self._first or (done, now)
        first, since = self._first
        if not first < done < rounds:
            return done, ""
        return done, f"{_time((now - since) / (done - first) * (rounds - done))} left"


class Bar(Silent):
    """A live bar: round, accuracy, bytes, time left; less of that on a narrow terminal."""

    def __init__(self, name):
        super().__init__(name)
        console = Console(force_terminal=True)
        self._width = console.width
        front = [TextColumn("[bold]{task.description}"), BarColumn(bar_width=24)]
        front = front if self._width >= WIDE else []
        self._progress = Progress(*front, TextColumn("{task.fields[facts]}"), console=console)
        self._task = self._progress.add_task(escape(name), total=None, facts="starting")

    def __call__(self, row, rounds):
        """Move the bar on by one round."""
        done, left = self._seen(row.columns, rounds)
        facts = _facts(row.columns, self._accuracy)
        facts = facts if self._width >= FULL else facts[: 1 if self._width < WIDE else 2]
        facts = "  ".join(filter(None, [f"{done}/{rounds}", *facts, left]))
        self._progress.update(self._task, total=rounds, completed=done, facts=facts)

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *error):
        self._progress.stop()


class Lines(Silent):
    """A line now and then, for logs."""

    def __init__(self, name):
        super().__init__(name)
        self._last = -LINE_EVERY

    def __call__(self, row, rounds):
        """Write a line if it is time for one."""
        done, left = self._seen(row.columns, rounds)
        now = monotonic()
        if now - self._last < LINE_EVERY and done < rounds:
            return
        self._last = now
        facts = "  ".join(filter(None, [*_facts(row.columns, self._accuracy), left]))
        print(f"{self._name}  round {done}/{rounds}  {facts}", flush=True)


def _facts(columns, accuracy):
    """What a reader wants to know of a round, in a few words each, the first the most."""
    shown = "-" if accuracy != accuracy else f"{100 * accuracy:.1f} %"
    up, down = columns["bytes_up"], columns["bytes_down"]
    return [f"accuracy {shown}", f"up {in_bytes(up)}", f"down {in_bytes(down)} a round"]


def _time(seconds):
    """Seconds as a person says them."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
