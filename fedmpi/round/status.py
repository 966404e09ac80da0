"""How the round of a client ended, as numbers of the result file."""

from fedmpi.record.schema import CLIENT_STATUS

COMPLETED, LATE, DROPPED, REJECTED, UNAVAILABLE = (
    CLIENT_STATUS.index(name)
    for name in ("completed", "late", "dropped", "rejected", "unavailable")
)
SILENCED = (LATE, UNAVAILABLE)  # whose report was cut off
