"""The Partition, which says which client holds each sample."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedmpi.arrays import Integers


@dataclass(frozen=True, eq=False)
class Partition:
    """Samples grouped by client.

    Attributes
    ----------
    order : int64[N']
        Sample indices, client after client, ascending within a client. Each sample
        occurs at most once; N' is smaller than N if a partition leaves samples out.
    starts : int64[K+1]
        Client k holds order[starts[k]:starts[k+1]].
    groups : int64[K] or None
        The natural client (writer, role) behind each client, if there is one.
    """

    order: Integers
    starts: Integers
    groups: Integers | None = None

    def of(self, client: int) -> Integers:
        """Return the sample indices of one client, int64[n], a view."""
        return self.order[self.starts[client] : self.starts[client + 1]]

    @property
    def clients(self) -> int:
        """Number of clients, K."""
        return len(self.starts) - 1

    @cached_property
    def sizes(self) -> Integers:
        """int64[K]: samples of each client."""
        return np.diff(self.starts)

    @cached_property
    def owner(self) -> Integers:
        """int64[N']: the client that holds order[i]."""
        return np.repeat(np.arange(self.clients), self.sizes)

    def arrays(self) -> dict[str, Integers]:
        """Return the arrays, by name, that distinguish one partition from another."""
        return {"order": self.order, "starts": self.starts}

    def counts(self, labels: Integers, classes: int) -> Integers:
        """Return int64[K, classes]: samples of each client and class; labels is int64[N]."""
        cells = self.owner * classes + labels[self.order]
        return np.bincount(cells, minlength=self.clients * classes).reshape(-1, classes)

    def counts_of(self, clients: Integers, labels: Integers, classes: int) -> Integers:
        """Return int64[n, classes]: the rows of `counts` of some clients int64[n]."""
        sizes = self.starts[clients + 1] - self.starts[clients]
        row = np.repeat(np.arange(len(clients)), sizes)
        first = np.repeat(self.starts[clients] - (np.cumsum(sizes) - sizes), sizes)
        cells = row * classes + labels[self.order[first + np.arange(len(row))]]
        return np.bincount(cells, minlength=len(clients) * classes).reshape(-1, classes)


def from_owner(
    owner: Integers, clients: int, groups: Integers | None = None
) -> Partition:
    """Return the Partition in which sample i belongs to owner[i], int64[N]; -1 leaves it out."""
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner, np.arange(clients + 1), sorter=order)
    return Partition(order[starts[0] :], starts - starts[0], groups)


def evenly(size: int, parts: int) -> Integers:
    """Return int64[size]: the part of each item, in order; sizes of parts differ by at most 1."""
    return np.repeat(np.arange(parts), np.diff(np.arange(parts + 1) * size // parts))
