"""Evaluation of a model on the test samples, distributed over the ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from fedmpi import returned
from fedmpi.arrays import AnyArray, Integers, Reals, Vector
from fedmpi.layout import Support
from fedmpi.learn.engine import BLOCK, Engine, right_of
from fedmpi.learn.losses import mean_loss
from fedmpi.learn.partitions.label_mix import LabelMix
from fedmpi.learn.sample_arrays import Samples
from fedmpi.metric import Metric
from fedmpi.totals import Total


class Ranks(Protocol):
    """The part of fedmpi.comm.Comm that an evaluation needs."""

    rank: int
    size: int

    def sum_array(self, array: AnyArray) -> AnyArray:
        """Add up one array over the ranks, in place, and return it."""

    def gather_rows(self, rows: AnyArray) -> AnyArray:
        """Return the rows of all ranks, in rank order."""


@dataclass(frozen=True, eq=False)
class OwnScore:
    """The scores of clients' own models on the clients' own test samples.

    `clients` int64[n] were drawn from `among` clients. `right` and `count` int64[n] are their
    numbers of right answers and of test samples, both 0 if a client's model is the global one.
    `of_mean` is the accuracy of the unweighted mean of their models on all test samples; NaN if
    there is no such mean.
    """

    clients: Integers
    right: Integers
    count: Integers
    among: int
    of_mean: float = np.nan


@dataclass(frozen=True, eq=False)
class Score:
    """Mean test loss, and right answers and samples of each class, int64[C].

    If the targets are not classes, there are no answers, and accuracies are NaN. `metrics` are
    values by column. `own` is set for methods whose clients have models of their own.
    """

    loss: float
    right: Integers
    count: Integers
    own: OwnScore | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Share of all samples that are classified correctly."""
        return float(self.right.sum() / self.count.sum()) if self.count.any() else np.nan

    def local_accuracy(self, mix: LabelMix) -> float:
        """Return the mean over clients of the accuracy on test data with the client's label mix.

        `mix` is a LabelMix; clients without samples are left out. For a client with the global
        model, this is the expected accuracy on a test set drawn in proportion to its labels,
        computed without drawing one. For a client with a model of its own, it is that model's
        accuracy on the client's own test samples. If only some were tested, they stand for all,
        and an estimate below 0 or above 1 becomes 0 or 1.
        """
        if not self.count.any():
            return np.nan
        rates = self.right / np.maximum(self.count, 1)
        found = float((mix.mean * rates).sum()) + self._gain(mix, rates) / max(mix.clients, 1)
        return min(max(found, 0.0), 1.0)

    def _gain(self, mix: LabelMix, rates: Reals) -> float:
        """Return the sum over clients of what own models add to the global model's accuracy."""
        own = self.own
        if own is None or not own.count.any():
            return 0.0
        asked = own.count > 0
        mine = (mix.of(own.clients[asked]) * rates).sum(axis=1)
        gain = own.right[asked] / own.count[asked] - mine
        return float(gain.sum() * own.among / len(own.clients))


def evaluate(
    engine: Engine,
    weights: Vector,
    samples: Samples,
    classes: int,
    comm: Ranks,
    metrics: Sequence[tuple[str, Metric]] = (),
) -> Score:
    """Return the Score of `weights` float32[P] on all `samples`; collective over `comm`.

    `metrics` are (column, Metric). Blocks are dealt to the ranks. Counts are integers, and one rank
    computes the loss and the parts of each block, so the Score is the same on any number of ranks.
    """
    blocks = -(-len(samples) // BLOCK)
    losses, tally = np.zeros(blocks), np.zeros((2, classes), np.int64)
    parts: dict[str, list[Reals | None]] = {column: [None] * blocks for column, _ in metrics}
    for block in range(comm.rank, blocks, comm.size):
        index = np.arange(block * BLOCK, min((block + 1) * BLOCK, len(samples)))
        outputs, y = engine.outputs_at(weights, samples, index)
        losses[block] = mean_loss(engine.data.loss, outputs, y) * len(index)
        if y.dtype.kind == "i":  # each token counts as one class
            outputs, y = outputs.reshape(-1, outputs.shape[-1]), y.reshape(-1)
            tally[0] += np.bincount(y[right_of(outputs, y)], minlength=classes)
            tally[1] += np.bincount(y, minlength=classes)
        for column, metric in metrics:
            part = metric.parts(outputs.astype(np.float64), y)
            parts[column][block] = returned.judged(part, len(y) if metric.whole else None, metric)
    comm.sum_array(losses)
    comm.sum_array(tally)
    found = {c: _value(metric, parts[c], len(samples), comm) for c, metric in metrics}
    right, count = tally
    return Score(float(losses.sum() / max(len(samples), 1)), right, count, metrics=found)


def client_loss(engine: Engine, client: int, weights: Vector) -> float:
    """Return the mean loss of `weights` float32[P] on the client's own samples; 0 without any."""
    samples, total, seen = engine.data.held(client), 0.0, 0
    for index in engine.data.block_places(client):
        outputs, y = engine.outputs_at(weights, samples, index)
        total += mean_loss(engine.data.loss, outputs, y) * len(index)
        seen += len(index)
    return total / max(seen, 1)


def _value(metric: Metric, parts: Sequence[Reals | None], samples: int, comm: Ranks) -> float:
    """Return a Metric's value from its parts, which are None for the blocks of other ranks."""
    mine = [part for part in parts if part is not None]
    here = np.array([mine[0].shape[-1] if mine else 0])
    width = int(comm.gather_rows(here).max())
    table = np.zeros((samples if metric.whole else len(parts), width))
    for block, part in enumerate(parts):
        if part is not None:
            first = block * BLOCK if metric.whole else block
            table[first : first + (len(part) if metric.whole else 1)] = part
    comm.sum_array(table)  # each row comes from one rank, and is 0 on all others
    if not len(table):
        return np.nan
    return returned.judgement(metric.value(table if metric.whole else table.sum(0)), metric)


def with_statistics(engine: Engine, weights: Vector, comm: Ranks) -> Vector:
    """Return float32[P]: `weights` with the running statistics of all training samples.

    These are the unweighted mean of the statistics of all blocks. Collective over `comm`; the
    result is the same on any number of ranks.
    """
    layout, samples = engine.layout, engine.data.samples
    still = np.array([not tensor.trained for tensor in layout.tensors], np.uint8)
    support, total = Support(layout, "tensor", still), Total(layout, "tensor")
    blocks = -(-len(samples) // BLOCK)
    for block in range(comm.rank, blocks, comm.size):
        x, _ = samples.take(np.arange(block * BLOCK, min((block + 1) * BLOCK, len(samples))))
        total.add(engine.block_statistics(weights, x, block), 1 / blocks, support)
    comm.sum_array(total.sum)
    comm.sum_array(total.cover)
    return total.mean(weights)
