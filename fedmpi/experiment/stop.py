"""Signals that ask a run to stop early and to save its state."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeAlias

from fedmpi.comm.leave import end_all

Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None
"""A handler of a signal, of the types that signal.signal takes and returns."""
ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
INTERRUPTED = 130  # the exit code by which shells report a program ended by SIGINT
GRACE = 2.0  # seconds in which a second SIGINT may end the run in an orderly way


class Stop:
    """Records that a signal came; the round loop checks it between clients.

    The handlers are installed for the time of a `with` block, in the main thread only. A SIGINT
    after another signal raises KeyboardInterrupt at once; the last checkpoint stays as it is.
    Python raises it only between bytecodes, so a rank that waits inside MPI would not see it.
    Therefore a thread listens too, and ends all ranks if this process still runs GRACE seconds
    later. SIGHUP, which a closing terminal sends, stays ignored if `nohup` ignores it.
    """

    def __init__(self) -> None:
        self.asked = ""  # name of the first signal that came
        self._before: dict[int, Handler] = {}
        self._terminals: list[int] = []  # of the standard streams
        self._ear, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)

    def __enter__(self) -> "Stop":
        self._terminals = [stream for stream in (1, 2) if os.isatty(stream)]
        for number in ASKING:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        signal.set_wakeup_fd(-1)
        self._mouth.close()  # ends the thread
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._note:
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        if number == signal.SIGHUP:
            nothing = os.open(os.devnull, os.O_WRONLY)
            for stream in self._terminals:  # the terminal is gone, so a write to it would fail
                os.dup2(nothing, stream)
            os.close(nothing)
        self.asked = self.asked or signal.Signals(number).name

    def _listen(self) -> None:
        """Read the number of each signal as it comes, even while the main thread is blocked."""
        asked = False
        while number := self._ear.recv(1):
            if asked and number[0] == signal.SIGINT:
                timer = threading.Timer(GRACE, end_all, (INTERRUPTED,))
                timer.daemon = True  # it must not keep an ending process alive
                timer.start()
            asked = asked or number[0] in ASKING
        self._ear.close()


def ignore_signals() -> None:
    """Ignore the signals of ASKING from now on: the run is over and everything is saved."""
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)


class NoSignals:
    """A stand-in for Stop that is never asked to stop, for callers without signal handlers."""

    asked = ""
