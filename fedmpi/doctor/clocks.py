"""Check that the clocks of the nodes agree."""

from collections.abc import Sequence

from fedmpi.doctor import NOTE, OK, Finding

MOST = 1.0  # seconds; people compare file times and logs across nodes


def clocks(hosts: Sequence[str], times: Sequence[float]) -> Finding:
    """Check the `times`, in seconds, that the ranks on `hosts` read at the same moment."""
    spread = max(times) - min(times)
    if spread > MOST:
        late = hosts[times.index(min(times))]
        return Finding(NOTE, "clocks", f"{late} is {spread:.1f} s behind",
                       "tell the site; fedmpi measures each node by its own clock only")
    return Finding(OK, "clocks", f"within {max(spread, 0.001):.3f} s")
