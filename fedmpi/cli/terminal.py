"""Is there a terminal? And texts from other people on it: they are shown, but cannot control it."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress

from fedmpi.comm.launch import started


def on_terminal(environ: Mapping[str, str]) -> bool:
    """Say whether the standard output is a terminal that somebody sees.

    Open MPI's launcher gives each rank a terminal of its own, even if its output goes to a file.
    """
    return sys.stdout.isatty() and started(environ)[1] != "OMPI_COMM_WORLD_SIZE"


def printable(text: str) -> str:
    """Return `text` with lines and tabs, without other characters that control a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def hold_streams() -> None:
    """Give a command that was started with closed streams (`>&-`) the null device instead.

    Python has None for a closed stream. The first file that is opened, such as a result, would
    get its number, and a library that prints would write into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            free = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(free, free == number)  # for the ranks that a command starts
            setattr(sys, name, open(free, "w" if number else "r"))  # noqa: SIM115, until the end


def drop_output() -> None:
    """Drop output that was not written yet, and all that follows: nobody reads it any more."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show_all() -> None:
    """Have a terminal that lacks a character show a question mark in its place."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")


def can_show(text: str) -> bool:
    """Say whether the standard output has all characters of `text`."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
