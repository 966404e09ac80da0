"""The terminal and standard streams: detect them, and show others' texts without control codes."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TextIO

from fedmpi.comm.launch import started


def on_terminal(environ: Mapping[str, str]) -> bool:
    """Return whether the standard output is a terminal that a user sees.

    Open MPI's launcher gives each rank a pseudo-terminal, even if its own output goes to a file.
    """
    return rewrites(sys.stdout, environ) and started(environ)[1] != "OMPI_COMM_WORLD_SIZE"


def rewrites(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether `stream` is a terminal that can rewrite a line; one named "dumb" cannot."""
    return stream.isatty() and environ.get("TERM") not in ("dumb", "unknown")


def printable(text: str) -> str:
    """Return `text` with all control characters but newlines and tabs escaped."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def hold_streams() -> None:
    """Replace standard streams that were closed at the start (`>&-`) by the null device.

    Python sets a closed stream to None. The first file opened, such as a result file, would get
    its file descriptor, and a library that prints would write into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            free = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(free, free == number)  # for the ranks that a command starts
            setattr(sys, name, open(free, "w" if number else "r"))  # noqa: SIM115, until the end


def drop_output() -> None:
    """Discard unwritten and all further output, since its reader is gone."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def warn(text: str) -> None:
    """Print a warning, if standard error can be written: it may be a log on a full disk."""
    with suppress(OSError, ValueError):
        print(f"fedmpi: warning: {text}", file=sys.stderr, flush=True)


def show_all() -> None:
    """Print a question mark for characters that the standard output cannot encode."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")


def can_show(text: str) -> bool:
    """Return whether the standard output can encode all characters of `text`."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
