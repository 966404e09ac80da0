"""How good a model is on the test samples, the work spread over the ranks."""

from dataclasses import dataclass

import numpy as np

from fedmpi.layout import Support
from fedmpi.learn.engine import BLOCK
from fedmpi.totals import Total


@dataclass(frozen=True, eq=False)
class OwnScore:
    """How clients' own models do on test samples of their own.

    `clients` int64[n] were drawn from `among` clients; `right` and `count` int64[n] are right
    answers and test samples, 0 and 0 where a client's model is the global one. `of_mean` is the
    accuracy of the plain mean of their models on all test samples; NaN if there is no such mean.
    """

    clients: np.ndarray
    right: np.ndarray
    count: np.ndarray
    among: int
    of_mean: float = np.nan


@dataclass(frozen=True, eq=False)
class Score:
    """Test loss (mean cross-entropy), and right answers and samples of each class, int64[C].

    `own` is there for methods whose clients have models of their own.
    """

    loss: float
    right: np.ndarray
    count: np.ndarray
    own: OwnScore | None = None

    @property
    def accuracy(self):
        """Share of all samples that are classed right."""
        return float(self.right.sum() / max(self.count.sum(), 1))

    def local_accuracy(self, counts):
        """Mean over clients of each one's model's accuracy on test data with its own label mix.

        `counts` is int64[K, C], the training samples of each client and class; clients
        without samples are left out. For a client with the global model it is the expected
        accuracy of a test set drawn in proportion to its labels, without drawing one; for one
        with a model of its own, that model's accuracy on the client's own test samples. If
        only some clients were asked, they stand for all.
        """
        rates = self.right / np.maximum(self.count, 1)
        sizes = counts.sum(axis=1)
        mine = (counts * rates).sum(axis=1) / np.maximum(sizes, 1)
        if not sizes.any():
            return 0.0
        return float(mine[sizes > 0].mean()) + self._gain(mine) / np.count_nonzero(sizes)

    def _gain(self, mine):
        """What own models add, in all, to the accuracies float64[K] of the global one."""
        own = self.own
        if own is None or not own.count.any():
            return 0.0
        asked = own.count > 0
        gain = own.right[asked] / own.count[asked] - mine[own.clients[asked]]
        return float(gain.sum() * own.among / len(own.clients))


def evaluate(engine, weights, samples, classes, comm):
    """Return the Score of `weights` float32[P] on all `samples`; collective over `comm`.

    Blocks are dealt over the ranks; counts are integers and each block's loss is computed
    by one rank, so the Score is the same for any number of ranks.
    """
    blocks = -(-len(samples) // BLOCK)
    losses, tally = np.zeros(blocks), np.zeros((2, classes), np.int64)
    for block in range(comm.rank, blocks, comm.size):
        index = np.arange(block * BLOCK, min((block + 1) * BLOCK, len(samples)))
        outputs, y = engine.outputs_at(weights, samples, index)
        logits = outputs.astype(np.float64)
        losses[block] = _cross_entropy(logits, y).sum()
        tally[0] += np.bincount(y[logits.argmax(axis=1) == y], minlength=classes)
        tally[1] += np.bincount(y, minlength=classes)
    comm.sum_array(losses)
    comm.sum_array(tally)
    return Score(float(losses.sum() / max(len(samples), 1)), tally[0], tally[1])


def with_statistics(engine, weights, comm):
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


def _cross_entropy(logits, y):
    """float64[n]: -log softmax(logits)[y]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y]
