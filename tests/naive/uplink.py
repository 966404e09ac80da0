"""Twin of kernels/uplink.py: rates grow together until a link or the cell is full."""

from itertools import pairwise


def rates(caps, capacity):
    """Progressive filling of flows by name."""
    found, open_ = {}, dict(caps)
    while open_:
        share = (capacity - sum(found.values())) / len(open_)
        full = {k: cap for k, cap in open_.items() if cap <= share}
        if not full:
            return found | dict.fromkeys(open_, share)
        found |= full
        open_ = {k: cap for k, cap in open_.items() if k not in full}
    return found


def fair_ends(ends, first, start, bits, cap, capacity):
    for low, high in pairwise(first):
        left = {i: bits[i] for i in range(low, high) if bits[i] > 0}
        for i in range(low, high):
            ends[i] = start[i]
        now = 0.0
        while left:
            at_work = {i: cap[i] for i in left if start[i] <= now}
            rate = rates(at_work, capacity)
            events = [start[i] for i in left if start[i] > now]
            ending = {i: now + left[i] / rate[i] for i in at_work}
            after = min([*events, *ending.values()])
            for i in at_work:
                left[i] -= rate[i] * (after - now)
                if ending[i] <= after:
                    ends[i] = after
                    del left[i]
            now = after
