"""The partition of clients that draw their samples when they train: only sizes are known."""

from dataclasses import dataclass

import numpy as np

from fedmpi.arrays import AnyArray, Integers
from fedmpi.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class Drawn:
    """The counterpart of a Partition for samples that are drawn on demand.

    Attributes
    ----------
    sizes : int[K]
        Number of samples of each client, in any integer type.
    """

    sizes: Integers

    groups = None

    @property
    def clients(self) -> int:
        """Number of clients, K."""
        return len(self.sizes)

    def of(self, client: int) -> Integers:
        """Return the indices of a client's samples, int64[n], which count from 0 in each client."""
        return np.arange(int(self.sizes[client]))

    def arrays(self) -> dict[str, AnyArray]:
        """Return the arrays, by name, that distinguish this partition from others."""
        return {"sizes": self.sizes}

    def counts(self, labels: Integers, classes: int) -> Integers:
        """Return int64[K, 1]: the samples of each client, all classes together."""
        return self.sizes.astype(np.int64)[:, None]


def drawn(name: str, sizes: AnyArray, clients: int) -> Drawn:
    """Return the Drawn partition of a data set with `sizes` int[K]; `name` is data.partition.

    Raises ConfigError for a partition other than "natural", and DataError for invalid sizes.
    """
    if name != "natural":
        raise ConfigError(
            f"data.partition = {name!r}: each client of this data set draws its own samples, so "
            "there is nothing to spread; use 'natural'"
        )
    sizes = np.asarray(sizes)
    whole = sizes.dtype.kind in "iu" and sizes.shape == (clients,)
    if not whole or sizes.min(initial=0) < 0 or sizes.max(initial=0) >= 1 << 31:
        raise DataError(
            f"sizes({clients}) of the data set is {sizes.dtype}{list(sizes.shape)}; return "
            f"whole numbers [{clients}] from 0 to 2^31 - 1"
        )
    return Drawn(sizes if sizes.dtype.itemsize < 4 else sizes.astype(np.int32))
