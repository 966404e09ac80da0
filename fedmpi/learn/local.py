"""The local training of a client: its optimiser, its batches and their order."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.rng import rng_for


@dataclass(frozen=True)
class Local:
    """The run's [clients] and [optimizer] keys that affect a client's training."""

    epochs: int | None
    steps: int | None
    batch_size: int
    optimizer: str
    lr: float
    lr_decay: float
    momentum: float
    weight_decay: float

    def steps_of(self, samples: int | Integers) -> Integers:
        """Return the number of batches of a client with `samples` (int or int64[n])."""
        if self.steps is not None:
            return np.where(np.asarray(samples) > 0, self.steps, 0)
        return (self.epochs or 1) * -(-np.asarray(samples, np.int64) // self.batch_size)

    def samples_of(self, samples: int | Integers) -> Integers:
        """Return how many samples a client with `samples` trains on, repetitions included."""
        if self.steps is not None:
            return self.samples_in(samples, self.steps)
        return (self.epochs or 1) * np.asarray(samples, np.int64)

    def samples_in(self, samples: int | Integers, steps: int) -> Integers:
        """Return how many samples `batches` yields in `steps` steps, repetitions included."""
        there = np.asarray(samples, np.int64)
        whole, rest = np.divmod(steps, np.maximum(-(-there // self.batch_size), 1))
        found: Integers = whole * there + np.minimum(rest * self.batch_size, there)
        return found

    def lr_of(self, round: int) -> float:
        """Return the learning rate of a round."""
        return self.lr * self.lr_decay**round

    def batches(
        self, seed: int, round: int, client: int, samples: int, steps: int | None
    ) -> Iterator[tuple[Integers, bool]]:
        """Yield (indices int64[n] of a batch among the client's samples, whether an epoch ends).

        Every epoch has a new order, and its last batch may be short. The very last batch also ends
        an epoch. `steps` is the number of batches; None stands for the result of `steps_of`.
        """
        rng = rng_for(seed, "batches", round, client)
        left = int(self.steps_of(samples)) if steps is None else steps
        while left > 0 and samples:
            order = rng.permutation(samples)
            for start in range(0, samples, self.batch_size)[:left]:
                left -= 1
                last = left == 0 or start + self.batch_size >= samples
                yield order[start : start + self.batch_size], last

    def probe(self, seed: int, round: int, client: int, samples: int) -> Integers:
        """Return the order int64[n] of the samples whose gradient is measured after training."""
        return rng_for(seed, "probe", round, client).permutation(samples)
