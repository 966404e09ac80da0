"""Gaussian noise on the mean over the clients, or on each client's change.

McMahan, Ramage, Talwar and Zhang, "Learning Differentially Private Recurrent Language Models",
ICLR 2018, arXiv:1710.06963: with changes of an L2 norm of at most `norm` (a clip stage before
this stage), and shares of at most a, the weighted sum changes by at most a * norm with one
client, and noise of standard deviation multiplier * a * norm is added to it. at = "client":
each client adds noise of multiplier * norm to its own change (local privacy). The noise is drawn
from the run's seed, so it is the same on every rank; it is as secret as the seed. Running
statistics get none, and messages become dense. The result file holds the epsilon of this noise at
`delta` (fedmpi/privacy.py).
"""

from typing import Any, Literal

import numpy as np
from pydantic import Field

from fedmpi.arrays import Memory, Reals
from fedmpi.exchange import Job, Parts
from fedmpi.layout import Support
from fedmpi.privacy import Noise
from fedmpi.section import Section
from fedmpi.stage import Stage, StageSetting
from fedmpi.totals import Sums


class Gaussian(Stage, name="gaussian"):
    """Adds normal noise of a fixed standard deviation."""

    scales = True

    class Keys(Section):
        """The keys of a gaussian stage."""

        multiplier: float = Field(1.0, ge=0, allow_inf_nan=False)  # noise relative to sensitivity
        norm: float = Field(1.0, gt=0, allow_inf_nan=False)  # norm of the clip stage before
        at: Literal["server", "client"] = "server"
        delta: float = Field(1e-5, gt=0, lt=1)  # delta for which epsilon is reported

    def __init__(self, keys: Any, setting: StageSetting) -> None:
        super().__init__(keys, setting)
        self.resizes = keys.at == "client"  # noise goes up in every coordinate

    @property
    def noise(self) -> Noise:
        """The noise that the keys describe."""
        keys = self.keys
        return Noise(keys.multiplier, keys.norm, keys.delta, keys.at == "client")

    def norm_after(self, before: float) -> float:
        """Return `before`: noise is the same for any data of a client, so it does not count."""
        return before

    def client(self, job: Job, parts: Parts, memory: Memory) -> tuple[Parts, Memory]:
        """Add noise to the change if at = "client"."""
        if self.keys.at == "server" or not parts["weights"].support.size:
            return parts, memory
        noise = self._noise(job.round, job.client, 1.0)
        change = parts["weights"].values + noise.astype(np.float32)
        whole = Support.all(self.layout)
        return {**parts, "weights": parts["weights"]._replace(values=change, support=whole)}, memory

    def server(self, sums: Sums, round: int, shares: Reals) -> None:
        """Add noise to the sum of the weights if at = "server"."""
        if self.keys.at == "server" and sums["weights"].weight > 0:
            sums["weights"].shift(self._noise(round, 0, float(shares.max())))

    def _noise(self, round: int, client: int, share: float) -> Reals:
        """Return float64[P]: normal noise for trained coordinates, 0 for running statistics."""
        drawn = self.rng_for(round, client).standard_normal(self.layout.size)
        deviation = float(self.keys.multiplier * self.keys.norm * share)
        return drawn * self.layout.trained * deviation
