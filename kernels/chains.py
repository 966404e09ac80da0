"""Two-state Markov chains of clients that come and go, computed at any time without their past.

A client comes at the events of one Poisson process and goes at the events of another. An event
that does not change the state is ignored. So the last event up to a time gives the state at that
time, and the next event of the other process is the next change. Each process is divided into
blocks of time. A block's events follow from random words that are addressed by block and client:
first the number of events, by the inverse of the Poisson distribution, then the time of each.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._counter import block, unit
from fedmpi.kernels._jit import kernel

MIDDLE = 1 << 40  # number of the block that begins at second 0; earlier blocks have lower numbers


@kernel
def changes(
    there: NDArray[np.bool_], change: NDArray[np.float64], comes: NDArray[np.uint64],
    goes: NDArray[np.uint64], comes_s: float, goes_s: float, below: NDArray[np.float64], now: float,
) -> None:
    """Write which clients are present at second `now`, and the second of each one's next change.

    The results are `there` bool[K] and `change` float64[K], for clients 0 to K - 1. `comes` and
    `goes` uint64[10, 2] are the round keys of the two processes, `comes_s` and `goes_s` the lengths
    of their blocks in seconds. `below` float64[m] is the cumulative distribution of the number of
    events in a block: below[n] = P(at most n), and its last value is 1.
    """
    first_c, first_g = np.int64(np.floor(now / comes_s)), np.int64(np.floor(now / goes_s))
    for k in range(len(there)):
        c, g = first_c, first_g
        came, next_came = _inside(comes, c, k, comes_s, below, now)
        went, next_went = _inside(goes, g, k, goes_s, below, now)
        # The later event decides, once no unread block of the other process can hold a later one.
        while (came <= went or came < g * goes_s) and (went <= came or went < c * comes_s):
            if came > went or (came == went and g * goes_s > c * comes_s):
                g -= 1
                went = _inside(goes, g, k, goes_s, below, now)[0]
            else:
                c -= 1
                came = _inside(comes, c, k, comes_s, below, now)[0]
        there[k] = came > went
        if there[k]:
            change[k] = _following(goes, first_g, k, goes_s, below, now, next_went)
        else:
            change[k] = _following(comes, first_c, k, comes_s, below, now, next_came)


@kernel
def _following(
    keys: NDArray[np.uint64], number: int, client: int, block_s: float, below: NDArray[np.float64],
    now: float, after: float,
) -> float:
    """Return `after`, or if it is infinite the first event after block `number`."""
    while after == np.inf:
        number += 1
        after = _inside(keys, number, client, block_s, below, now)[1]
    return after


@kernel
def _inside(
    keys: NDArray[np.uint64], number: int, client: int, block_s: float, below: NDArray[np.float64],
    now: float,
) -> tuple[float, float]:
    """Return a block's last event up to `now` (else -inf) and its first event after (else inf)."""
    before, after = -np.inf, np.inf
    round, who = np.uint64(number + MIDDLE), np.uint64(client)
    words = block(keys, np.uint64(0), round, who)
    drawn, events = unit(words[0]), 0
    while drawn >= below[events]:
        events += 1
    for event in range(1, events + 1):  # word 0 has given the number of events
        if event % 4 == 0:
            words = block(keys, np.uint64(event // 4), round, who)
        time = (number + unit(words[event % 4])) * block_s
        if time <= now:
            before = max(before, time)
        else:
            after = min(after, time)
    return before, after
