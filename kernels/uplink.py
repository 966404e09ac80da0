"""Links that share a capacity: max-min fair rates, solved from event to event.

Bertsekas and Gallager, Data Networks, 2nd ed. 1992, section 6.5.2: no flow's rate can be raised
without lowering that of a flow with the same rate or less. The rates do not change between two
events (a flow starts or ends). So a cell of n flows takes at most 2 n steps of n operations.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._jit import kernel


@kernel
def fair_ends(
    ends: NDArray[np.float64], first: NDArray[np.int64], start: NDArray[np.float64],
    bits: NDArray[np.float64], cap: NDArray[np.float64], capacity: float,
) -> None:
    """Write the time at which each flow ends into `ends` float64[n].

    Flows first[c] to first[c + 1] - 1 (`first` int64[cells + 1]) share `capacity` bits per second.
    They are sorted by `cap` float64[n], the bits per second of their own links, which are above 0.
    `start` and `bits` float64[n] are the time at which each flow begins and the bits that it sends.
    """
    rate, left = np.zeros(len(start)), bits.copy()
    for c in range(len(first) - 1):
        a, b, now, pending = first[c], first[c + 1], np.inf, 0
        for i in range(a, b):
            ends[i] = start[i]
            if bits[i] > 0:
                pending += 1
                now = min(now, start[i])
        while pending > 0:
            _fill(rate, left, start, cap, now, a, b, capacity)
            after = np.inf
            for i in range(a, b):
                if left[i] > 0 and start[i] > now:
                    after = min(after, start[i])
                elif left[i] > 0:
                    after = min(after, now + left[i] / rate[i])
            for i in range(a, b):
                if left[i] > 0 and start[i] <= now:
                    rest = left[i] - rate[i] * (after - now)
                    # Because of rounding, a flow with nothing left may seem to end after `after`.
                    if rest <= 0 or now + left[i] / rate[i] <= after:
                        left[i], ends[i] = 0.0, after
                        pending -= 1
                    else:
                        left[i] = rest
            now = after


@kernel
def _fill(
    rate: NDArray[np.float64], left: NDArray[np.float64], start: NDArray[np.float64],
    cap: NDArray[np.float64], now: float, a: int, b: int, capacity: float,
) -> None:
    """Write the rates of those flows in a..b-1 that are active at `now`, slowest links first."""
    active, rest = 0, capacity
    for i in range(a, b):
        active += left[i] > 0 and start[i] <= now
    for i in range(a, b):
        if left[i] > 0 and start[i] <= now:
            rate[i] = min(cap[i], rest / active)
            rest -= rate[i]
            active -= 1
