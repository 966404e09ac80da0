"""Signals that ask a run to stop early with everything kept."""

import signal

ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Stop:
    """Notes that a signal came; the round loop looks at it between clients.

    Installed for the time of a `with` block, in the main thread only. A second SIGINT
    raises KeyboardInterrupt at once: the last checkpoint stays as it is.
    """

    def __init__(self):
        self.asked = ""  # name of the first signal that came
        self._before = {}

    def __enter__(self):
        for number in ASKING:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error):
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._note:
                signal.signal(number, handler)

    def _note(self, number, frame):
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = self.asked or signal.Signals(number).name


def deaf():
    """Ignore those signals from here on: the run is over, and nothing is left to keep."""
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)


class Never:
    """A run that nobody interrupts, for callers without signals of their own."""

    asked = ""
