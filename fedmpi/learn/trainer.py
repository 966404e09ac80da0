"""One client's local training: batches in the client's own order, plan by plan."""

from dataclasses import dataclass

import numpy as np

from fedmpi import kernels
from fedmpi.layout import Support
from fedmpi.plan import Report
from fedmpi.rng import rng_for


@dataclass(frozen=True)
class Local:
    """How a client trains: the run's [clients] and [optimizer] keys that matter here."""

    epochs: int | None
    steps: int | None
    batch_size: int
    optimizer: str
    lr: float
    lr_decay: float
    momentum: float
    weight_decay: float

    def steps_of(self, samples):
        """Return how many batches a client with `samples` (int or int64[n]) trains on."""
        if self.steps is not None:
            return np.where(np.asarray(samples) > 0, self.steps, 0)
        return self.epochs * -(-np.asarray(samples) // self.batch_size)


    def samples_of(self, samples):
        """Return how many samples a client with `samples` trains on, each time counted."""
        if self.steps is not None:
            return np.minimum(self.batch_size, np.asarray(samples)) * self.steps
        return self.epochs * np.asarray(samples)


class Trainer:
    """Trains one client after another with one engine; buffers are allocated once."""

    def __init__(self, engine, samples, partition, local, seed):
        self.engine, self.samples, self.partition = engine, samples, partition
        self.local, self.seed = local, seed
        self._grad = engine.grad
        self._moments = np.zeros((2, engine.layout.size), np.float32)  # velocity, or Adam's two moments
        self._trained = engine.layout.trained.astype(np.uint8)

    def train(self, weights, plan, client, round, share):
        """Train `client` from the weights float32[P] that it received; return its Report.

        `weights` are not changed.
        """
        index = self.partition.of(client)
        x, y = self.samples.take(index)
        mine = self.engine.weights  # the engine's own buffer, which spares it a copy a step
        mine[:] = weights
        self._moments[:] = 0
        update = self._update(plan, weights, round)
        loss, seen, steps = 0.0, 0, 0
        for batch in self._batches(len(index), round, client):
            mean = self.engine.gradient(mine, x[batch], y[batch], self._grad, plan.backward)
            steps += 1
            update(mine, steps)
            loss += mean * len(batch)
            seen += len(batch)
        return Report(client, len(index), seen, steps, share, loss / max(seen, 1), mine.copy())

    def _batches(self, samples, round, client):
        """Yield the index arrays of the batches: a new order every epoch, the last batch short."""
        rng, size = rng_for(self.seed, "batches", round, client), self.local.batch_size
        left = int(self.local.steps_of(samples))
        while left > 0:
            order = rng.permutation(samples)
            for start in range(0, samples, size)[:left]:
                yield order[start : start + size]
                left -= 1

    def _update(self, plan, reference, round):
        """Return the function (weights, step) that applies the gradient in place."""
        local = self.local
        lr = np.float32(local.lr * local.lr_decay**round)
        mask = self._mask(plan.backward)
        decay, mu = np.float32(local.weight_decay), np.float32(plan.proximal)
        first, second = self._moments
        if local.optimizer == "adam":

            def adam(weights, step):
                kernels.update.adam(
                    weights, self._grad, first, second, reference, mask, lr, decay, mu, step
                )

            return adam

        def sgd(weights, step):
            kernels.update.sgd(
                weights, self._grad, first, reference, mask, lr, local.momentum, decay, mu
            )

        return sgd

    def _mask(self, backward):
        """uint8[P]: 1 where the optimiser moves a coordinate; dropped rows stay where they are."""
        layout, rows = self.engine.layout, backward.rows
        if rows is None and backward.lowest == 0:
            return self._trained
        rows = rows or (None,) * len(layout.layers)
        below = [np.zeros(layer.rows, bool) for layer in layout.layers[: backward.lowest]]
        from_rows = Support.of_rows(layout, (*below, *rows[backward.lowest :]))
        return self._trained * from_rows.mask()
