"""How a run tells that it goes on: a live bar on a terminal, else a line now and then."""

import sys
from time import monotonic

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fedmpi.analysis.quantities import in_bytes

LINE_EVERY = 5.0  # seconds between lines; the first and the last round always get one


def progress_for(kind, name):
    """Return the progress display: kind is "auto", "bar", "lines" or "none"."""
    if kind == "auto":
        kind = "bar" if sys.stdout.isatty() else "lines"
    return {"bar": Bar, "lines": Lines, "none": Silent}[kind](name)


class Silent:
    """Says nothing."""

    def __init__(self, name):
        pass

    def __call__(self, row, rounds):
        """Take note of nothing."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


class Bar(Silent):
    """A live bar: round, accuracy, bytes, time left."""

    def __init__(self, name):
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=Console(force_terminal=True),
        )
        self._task = self._progress.add_task(escape(name), total=None, facts="starting")
        self._accuracy = float("nan")

    def __call__(self, row, rounds):
        """Move the bar on by one round."""
        accuracy = row.columns["test_accuracy"]
        self._accuracy = self._accuracy if accuracy != accuracy else accuracy
        done = row.columns["round"] + 1
        facts = f"{done}/{rounds}  {_facts(row.columns, self._accuracy)}"
        self._progress.update(self._task, total=rounds, completed=done, facts=facts)

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *error):
        self._progress.stop()


class Lines(Silent):
    """A line now and then, for logs."""

    def __init__(self, name):
        self._name, self._began, self._last = name, monotonic(), -LINE_EVERY
        self._accuracy = float("nan")

    def __call__(self, row, rounds):
        """Write a line if it is time for one."""
        accuracy, now = row.columns["test_accuracy"], monotonic()
        self._accuracy = self._accuracy if accuracy != accuracy else accuracy
        done = row.columns["round"] + 1
        if now - self._last < LINE_EVERY and done < rounds:
            return
        self._last = now
        left = (now - self._began) / done * (rounds - done)
        facts = _facts(row.columns, self._accuracy)
        print(f"{self._name}  round {done}/{rounds}  {facts}  {left:.0f} s left", flush=True)


def _facts(columns, accuracy):
    """What a reader wants to know of a round, in a few words."""
    shown = "-" if accuracy != accuracy else f"{100 * accuracy:.1f} %"
    up, down = columns["bytes_up"], columns["bytes_down"]
    return f"accuracy {shown}  up {in_bytes(up)}  down {in_bytes(down)} a round"
