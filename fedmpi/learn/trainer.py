"""One client's local training: batches in the client's own order, plan by plan."""

from dataclasses import dataclass

import numpy as np

from fedmpi.exchange import CLIENT_FAULTS, Failure, Report
from fedmpi.learn.steps import Steps
from fedmpi.rng import rng_for

BLOCK = 500  # samples evaluated together


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
    """Trains one client after another on the Networks of one model.

    `augment`, if given, is called as (x, batch, rng) and returns the images of a batch changed.
    `on_step`, a callable without arguments, is called after each step.
    """

    def __init__(self, networks, samples, partition, local, seed, augment=None, on_step=None):
        self.augment = augment
        self.networks, self.samples, self.partition = networks, samples, partition
        self.local, self.seed, self.on_step = local, seed, on_step or (lambda: None)

    def train(self, jobs):
        """Yield the Report of each Job in turn, or a Failure; takes a job when it needs it."""
        for job in jobs:
            try:
                yield self._trained(job)
            except CLIENT_FAULTS as fault:
                yield Failure(job.client, str(fault) or type(fault).__name__)

    def _trained(self, job):
        """Return the Report of one Job; the state's weights are not changed."""
        weights, plan, client, round = job.state["weights"], job.plan, job.client, job.round
        x, y = self.samples.take(self.partition.of(client))
        lr = self.local.lr * self.local.lr_decay**round
        network = self.networks.of(plan.submodel)
        start = weights if plan.start is None else plan.start
        own = network.enter(start, plan.private)
        steps = Steps(network, plan, self.local, lr, own)
        probed = self._measure(steps, plan, x, y)
        rng = self.augment and rng_for(self.seed, "augment", round, client)
        loss, seen = 0.0, 0
        for batch, last in self._batches(len(y), plan.steps, round, client):
            loss += steps.take(*self._shown(x, y, batch, rng)) * len(batch)
            seen += len(batch)
            self.on_step()
            if last:
                steps.end_epoch()
        if "gradient" in plan.statistics and len(y):
            batch = rng_for(self.seed, "probe", round, client).permutation(len(y))
            batch = batch[: self.local.batch_size]
            steps.probe(x[batch], y[batch])
            probed += len(batch)
        after, private = network.leave(start, steps.weights.copy())
        return Report(
            client=client,
            samples=len(y),
            seen=seen,
            steps=steps.count,
            loss=loss / max(seen, 1),
            weights=after,
            lr=lr,
            probed=probed,
            private=private,
            statistics=steps.statistics.result(),
        )

    def _shown(self, x, y, batch, rng):
        """Return (x, y, indices) of a batch as the client sees it this time."""
        if self.augment is None:
            return x, y, batch
        return self.augment(x, batch, rng), y[batch], np.arange(len(batch))

    def _measure(self, steps, plan, x, y):
        """Measure what the plan wants of all samples before training; return how many."""
        if "columns" not in plan.statistics:
            return 0
        for first in range(0, len(y), BLOCK):
            steps.measure(x[first : first + BLOCK], y[first : first + BLOCK])
        return len(y)

    def accuracy(self, client, weights):
        """Return the share of the client's own samples that `weights` float32[P] class right."""
        index = self.partition.of(client)
        right = 0
        for first in range(0, len(index), BLOCK):
            x, y = self.samples.take(index[first : first + BLOCK])
            right += int((self.networks.whole.engine.outputs(weights, x).argmax(axis=1) == y).sum())
        return right / max(len(index), 1)

    def _batches(self, samples, steps, round, client):
        """Yield (indices of a batch, whether an epoch ends with it).

        Every epoch has a new order, and its last batch may be short. The last batch of all
        ends an epoch too.
        """
        rng, size = rng_for(self.seed, "batches", round, client), self.local.batch_size
        left = int(self.local.steps_of(samples)) if steps is None else steps
        while left > 0 and samples:
            order = rng.permutation(samples)
            for start in range(0, samples, size)[:left]:
                left -= 1
                yield order[start : start + size], left == 0 or start + size >= samples
