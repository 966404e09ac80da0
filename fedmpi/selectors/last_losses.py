"""The base of selection rules that use the losses of the clients' last rounds."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedmpi.arrays import AnyArray
from fedmpi.selector import Selector


class LastLosses(Selector):
    """Keeps `loss` float32[K]: the training loss of each client's last report; NaN before it."""

    learns = True

    def __init__(self, keys: Any, seed: int, clients: int) -> None:
        super().__init__(keys, seed, clients)
        self.loss = np.full(clients, np.nan, np.float32)

    def learn(self, rows: AnyArray) -> None:
        """Store the losses of the clients that reported."""
        rows = rows[np.isfinite(rows["train_loss"])]
        self.loss[rows["client"]] = rows["train_loss"]

    def arrays(self) -> dict[str, AnyArray]:
        """Return the losses."""
        return {"loss": self.loss}

    def restore(self, arrays: Mapping[str, AnyArray]) -> None:
        """Restore the losses."""
        self.loss = arrays["loss"].copy()
