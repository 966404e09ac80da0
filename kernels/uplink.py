"""Links that share a capacity: max-min fair rates, solved from event to event.

Bertsekas and Gallager, Data Networks, 2nd ed. 1992, section 6.5.2: no flow can get more without
taking from a flow that has as little or less. Between two events (a flow starts, a flow ends)
the rates do not change. So a cell of n flows takes at most 2 n steps of n operations.
"""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._jit import kernel


@kernel
def fair_ends(
    ends: NDArray[np.float64], first: NDArray[np.int64], start: NDArray[np.float64],
    bits: NDArray[np.float64], cap: NDArray[np.float64], capacity: float,
) -> None:
    """Write when each flow ends, into `ends` float64[n].

    Flows first[c] to first[c + 1] - 1, int64[cells + 1], share `capacity` bits a second, in order
    of ascending `cap` float64[n], the bits a second of their own links, which are above 0.
    `start` and `bits` float64[n] say when a flow begins, and how much it carries.
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
                    # Rounded, a flow may end an instant after `after` and yet have nothing left.
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
    """Write the rates of the flows a..b-1 that are under way at `now`: smallest links first."""
    active, rest = 0, capacity
    for i in range(a, b):
        active += left[i] > 0 and start[i] <= now
    for i in range(a, b):
        if left[i] > 0 and start[i] <= now:
            rate[i] = min(cap[i], rest / active)
            rest -= rate[i]
            active -= 1
