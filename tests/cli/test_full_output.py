"""A run goes on where its progress and its warnings cannot be written."""

import io
import os
import sys
from contextlib import ExitStack, contextmanager

import pytest

from fedmpi.cli import progress_display
from fedmpi.cli.terminal import warn
from tests.cli.rows import Row


@contextmanager
def full(monkeypatch, *names):
    """Let the standard streams `names` write to a disk that is full during the block."""
    with monkeypatch.context() as patch, ExitStack() as stack:
        streams = [stack.enter_context(open("/dev/full", "w", buffering=1)) for _ in names]
        for name, stream in zip(names, streams, strict=True):
            patch.setattr(sys, name, stream)
        yield
        for stream in streams:  # or to close it would fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@pytest.mark.parametrize("kind", ["lines", "bar"])
def test_progress_on_a_full_disk_does_not_end_the_run(monkeypatch, kind):
    with full(monkeypatch, "stdout", "stderr"):
        with progress_display.progress_for(kind, "exp") as shown:
            for number in range(3):
                shown(Row(number), 3)
        sys.stdout.write("result in a.h5\n")  # nothing of the progress is left that would fail now
        sys.stdout.flush()


def test_a_terminal_that_goes_away_does_not_end_the_run(monkeypatch):
    bar = progress_display.progress_for("bar", "exp")
    console = bar._progress.live.console
    monkeypatch.setattr(console, "file", io.StringIO())
    with full(monkeypatch, "stdout"), bar:
        monkeypatch.setattr(console, "file", sys.stdout)
        bar(Row(0), 2)


def test_the_user_is_told_why_the_lines_end(monkeypatch, capsys):
    with full(monkeypatch, "stdout"), progress_display.progress_for("lines", "exp") as shown:
        shown(Row(0), 2)
        shown(Row(1), 2)
    assert capsys.readouterr().err == (
        "fedmpi: warning: the progress cannot be written (No space left on device); the run goes "
        "on without it\n"
    )


def test_a_warning_on_a_full_disk_does_not_end_the_run(monkeypatch):
    with full(monkeypatch, "stderr"):
        warn("a rank has not moved")
        warn("a rank has not moved")
