"""The schedule of a round, which ends with the slowest client or at a deadline.

Bonawitz et al., "Towards Federated Learning at Scale: System Design", MLSys 2019,
arXiv:1902.01046, section 2.2: more clients are selected than are needed. A round ends when enough
of them have reported, or at its time limit, and later reports are ignored.

Deviation from the paper: all reports that arrive by the deadline are taken, not only the first K.
Whether a client is late therefore depends on its own seconds alone, and is known on the rank that
simulates it without communication.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedmpi.arrays import Bools, Integers
from fedmpi.simulated import ScheduleSection
from fedmpi.world.clock import Spans
from fedmpi.world.devices import Devices


@dataclass(frozen=True)
class Schedule:
    """A round of at most `deadline_s` virtual seconds, infinite for a round without deadline."""

    deadline_s: Any = math.inf  # or float64[n], one deadline for each client

    def late(self, span: Spans) -> Any:
        """Return bool[n], True for clients whose reports, with these Spans, come too late."""
        return span.total > self.deadline_s

    def through(self, span: Spans, devices: Devices, clients: Any, bytes_up: Any) -> Integers:
        """Return how many of `bytes_up` int64[n] the server has at the deadline, int64[n]."""
        sending = self.deadline_s - span.down - span.compute - devices.latency_s[clients]
        through = np.floor(sending * 1e6 * devices.up_mbit_s[clients] / 8)
        whole: Integers = np.clip(through, 0, bytes_up).astype(np.int64)
        return whole

    def cut_off(self, span: Spans, late: Bools, dropped: Bools) -> Spans:
        """Return the Spans, cut off as the server sees them; `late` and `dropped` are bool[n].

        The Span of a late client ends at the deadline. A lost client has only received.
        """
        down = np.minimum(span.down, self.deadline_s)
        left = self.deadline_s - down
        compute = np.where(dropped, 0.0, np.minimum(span.compute, left))
        up = np.where(dropped, 0.0, np.where(late, left - compute, span.up))
        return Spans(down, compute, up)

    def end(self, start: float, span: Spans, missing: Bools) -> float:
        """Return the virtual second at which a round that began at `start` ends.

        `span` are Spans [n] from `cut_off`; `missing` bool[n] marks late and dropped clients. If
        any client is missing, the server waits for the deadline. Without a deadline it notices a
        lost connection at once, so the last client to report or to be lost ends the round. A round
        without clients takes no time.
        """
        if missing.any() and math.isfinite(self.deadline_s):
            return float(start + self.deadline_s)
        return start + float(span.total.max(initial=0.0))


def schedule_of(section: ScheduleSection) -> Schedule:
    """Return the Schedule of a [schedule] section."""
    return Schedule() if section.deadline_s is None else Schedule(section.deadline_s)
