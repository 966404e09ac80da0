"""Signals that ask a run to stop early with everything kept."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeAlias

from fedmpi.comm.leave import end_all

Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None
"""What answers a signal, as signal.signal gives and takes it."""
ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
INTERRUPTED = 130  # the exit code of a program that SIGINT has ended, as shells count
GRACE = 2.0  # seconds in which a second SIGINT may end the run in an orderly way


class Stop:
    """Notes that a signal came; the round loop looks at it between clients.

    Installed for the time of a `with` block, in the main thread only. A SIGINT after another
    signal raises KeyboardInterrupt at once: the last checkpoint stays as it is. Python raises
    it between two of its own steps, so a rank that waits for others inside MPI would not
    hear it; a thread hears it too, and ends all ranks if this one is still there soon after.
    SIGHUP, of a terminal that closes, is left to `nohup` where that ignores it.
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
            for stream in self._terminals:  # which is gone: a write to it would fail
                os.dup2(nothing, stream)
            os.close(nothing)
        self.asked = self.asked or signal.Signals(number).name

    def _listen(self) -> None:
        """Read the number of each signal as it comes, whatever the main thread is doing."""
        asked = False
        while number := self._ear.recv(1):
            if asked and number[0] == signal.SIGINT:
                timer = threading.Timer(GRACE, end_all, (INTERRUPTED,))
                timer.daemon = True  # it must not keep a process alive that is ending
                timer.start()
            asked = asked or number[0] in ASKING
        self._ear.close()


def ignore_signals() -> None:
    """Ignore those signals from here on: the run is over, and nothing is left to keep."""
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)


class NoSignals:
    """A run that nobody interrupts, for callers without signals of their own."""

    asked = ""
