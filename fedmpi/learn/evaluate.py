"""How good a model is on the test samples, the work spread over the ranks."""

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
    """What an evaluation needs of the ranks, as fedmpi.comm.Comm has it."""

    rank: int
    size: int

    def sum_array(self, array: AnyArray) -> AnyArray:
        """Add up one array over the ranks, in place, and return it."""

    def gather_rows(self, rows: AnyArray) -> AnyArray:
        """Return the rows of all ranks, in rank order."""


@dataclass(frozen=True, eq=False)
class OwnScore:
    """How clients' own models do on test samples of their own.

    `clients` int64[n] were drawn from `among` clients; `right` and `count` int64[n] are right
    answers and test samples, 0 and 0 where a client's model is the global one. `of_mean` is the
    accuracy of the plain mean of their models on all test samples; NaN if there is no such mean.
    """

    clients: Integers
    right: Integers
    count: Integers
    among: int
    of_mean: float = np.nan


@dataclass(frozen=True, eq=False)
class Score:
    """Mean test loss, and right answers and samples of each class, int64[C].

    There are none where the targets are no classes: then the accuracies are NaN. `metrics` are
    values by column; `own` is there for methods whose clients have models of their own.
    """

    loss: float
    right: Integers
    count: Integers
    own: OwnScore | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Share of all samples that are classed right."""
        return float(self.right.sum() / self.count.sum()) if self.count.any() else np.nan

    def local_accuracy(self, mix: LabelMix) -> float:
        """Mean over clients of each one's model's accuracy on test data with its own label mix.

        `mix` is a LabelMix; clients without samples are left out. For a client with the global
        model it is the expected accuracy of a test set drawn in proportion to its labels, without
        drawing one; for one with a model of its own, that model's accuracy on the client's own
        test samples. If only some clients were asked, they stand for all.
        """
        if not self.count.any():
            return np.nan
        rates = self.right / np.maximum(self.count, 1)
        return float((mix.mean * rates).sum()) + self._gain(mix, rates) / max(mix.clients, 1)

    def _gain(self, mix: LabelMix, rates: Reals) -> float:
        """What own models add, in all, to the accuracies of the global one."""
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

    `metrics` are (column, Metric). Blocks are dealt over the ranks; counts are integers, and each
    block's loss and parts are computed by one rank, so the Score is the same for any number of
    ranks.
    """
    blocks = -(-len(samples) // BLOCK)
    losses, tally = np.zeros(blocks), np.zeros((2, classes), np.int64)
    parts: dict[str, list[Reals | None]] = {column: [None] * blocks for column, _ in metrics}
    for block in range(comm.rank, blocks, comm.size):
        index = np.arange(block * BLOCK, min((block + 1) * BLOCK, len(samples)))
        outputs, y = engine.outputs_at(weights, samples, index)
        losses[block] = mean_loss(engine.data.loss, outputs, y) * len(index)
        if y.dtype.kind == "i":  # tokens are as many classes
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


def _value(metric: Metric, parts: Sequence[Reals | None], samples: int, comm: Ranks) -> float:
    """Return a Metric of what the ranks found for their blocks, None for those of others."""
    mine = [part for part in parts if part is not None]
    here = np.array([mine[0].shape[-1] if mine else 0])
    width = int(comm.gather_rows(here).max())
    table = np.zeros((samples if metric.whole else len(parts), width))
    for block, part in enumerate(parts):
        if part is not None:
            first = block * BLOCK if metric.whole else block
            table[first : first + (len(part) if metric.whole else 1)] = part
    comm.sum_array(table)  # each row is one rank's, and 0 on the others
    if not len(table):
        return np.nan
    return returned.judgement(metric.value(table if metric.whole else table.sum(0)), metric)


def with_statistics(engine: Engine, weights: Vector, comm: Ranks) -> Vector:
    """Return float32[P]: `weights` with the running statistics of all training samples.

    The plain mean of those of each block; collective over `comm`, the same for any ranks.
    """
    layout, samples = engine.layout, engine.data.samples
    still = np.array([not tensor.trained for tensor in layout.tensors], np.uint8)
    support, total = Support(layout, "tensor", still), Total(layout, "tensor")
    blocks = -(-len(samples) // BLOCK)
    for block in range(comm.rank, blocks, comm.size):
        x, _ = samples.take(np.arange(block * BLOCK, min((block + 1) * BLOCK, len(samples))))
        total.add(engine.block_statistics(weights, x), 1 / blocks, support)
    comm.sum_array(total.sum)
    comm.sum_array(total.cover)
    return total.mean(weights)
