"""The outcomes of a client's round, as they are numbered in the result file."""

from fedmpi.record.schema import CLIENT_STATUS

COMPLETED, LATE, DROPPED, REJECTED, UNAVAILABLE = (
    CLIENT_STATUS.index(name)
    for name in ("completed", "late", "dropped", "rejected", "unavailable")
)
SILENCED = (LATE, UNAVAILABLE)  # outcomes in which the report was cut off
