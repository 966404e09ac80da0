"""Twin of kernels/chains.py: all events of both processes in many blocks, in order."""

from bisect import bisect

from fedmpi.kernels.chains import MIDDLE


def events(stream, block_s, below, client, now):
    """Return the seconds of a process's events within 40 blocks of `now`, sorted."""
    found, here = [], int(now / block_s)
    for number in range(here - 40, here + 40):
        rng = stream(MIDDLE + number, client)
        count = bisect(below, rng.random())
        found += [(number + place) * block_s for place in rng.random(count)]
    return sorted(found)


def changes(there, change, comes, goes, comes_s, goes_s, below, now):
    """As the kernel; `comes` and `goes` are streams: stream(block, client) is a Generator."""
    for k in range(len(there)):
        came = events(comes, comes_s, below, k, now)
        went = events(goes, goes_s, below, k, now)
        there[k] = max(t for t in came if t <= now) > max(t for t in went if t <= now)
        change[k] = min(t for t in (went if there[k] else came) if t > now)
