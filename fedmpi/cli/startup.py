"""Show the stages of a run's start, before its first round."""

import os
import sys
import threading
from pathlib import Path
from time import monotonic

from fedmpi.cli.terminal import rewrites
from fedmpi.errors import counted

EVERY = 5.0  # seconds between two lines about the same stage
CLEAR = "\r\x1b[K"  # to the start of the line, and erase it


class StartUp:
    """Shows the stage that a start has reached, on standard error.

    On a terminal this is a single line that is rewritten each second and erased at the end.
    Elsewhere each stage gets a line that begins with "#", and a further line every few seconds
    while it lasts. Compiled kernels are counted, since they explain a long first start.
    """

    def __init__(self, live: bool | None = None) -> None:
        self._live = rewrites(sys.stderr, os.environ) if live is None else live
        self._text, self._since, self._said = "", monotonic(), 0.0
        self._folder: Path | None = None
        self._before = 0
        self._over, self._lock = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None

    def __call__(self, text: str) -> None:
        """Show that the stage `text` begins; does nothing after `end`."""
        if self._over.is_set():
            return
        with self._lock:
            self._text, self._since, self._said = text, monotonic(), 0.0
            self._show()
        if self._thread is None:
            self._thread = threading.Thread(target=self._go_on, daemon=True)
            self._thread.start()

    def count_kernels(self, folder: str | Path) -> None:
        """Count the kernels that are compiled into `folder` from now on."""
        self._folder, self._before = Path(folder), compiled(folder)

    def end(self) -> None:
        """Stop showing stages; may be called again."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(1.0)
            if self._live:
                self._write(CLEAR)
        self._thread, self._live = None, False

    def _go_on(self) -> None:
        while not self._over.wait(1.0):
            with self._lock:
                passed = monotonic() - self._since
                if self._live or passed - self._said >= EVERY:
                    self._said = passed
                    self._show()

    def _show(self) -> None:
        words = self.words(monotonic() - self._since)
        self._write(f"{CLEAR}{words}" if self._live else f"# {words}\n")

    def words(self, seconds: float) -> str:
        """Return the text to show `seconds` after the stage began."""
        new = compiled(self._folder) - self._before if self._folder else 0
        kernels = f"; {counted(new, 'kernel')} compiled, once on this machine" if new > 0 else ""
        return f"{self._text}{f', {seconds:.0f} s' if seconds >= 1 else ''}{kernels}"

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):  # standard error is closed; the run itself goes on
            self._over.set()


def compiled(folder: str | Path) -> int:
    """Return the number of compiled kernels in a folder of numba's cache."""
    names = (name for _, _, files in os.walk(folder) for name in files)  # Path.glob takes 0.1 s
    return sum(name.endswith(".nbc") for name in names)

