"""How good a model is on the test samples, the work spread over the ranks."""

from dataclasses import dataclass

import numpy as np

BLOCK = 500  # samples evaluated together; fixed, so that no result depends on the ranks


@dataclass(frozen=True, eq=False)
class Score:
    """Test loss (mean cross-entropy), and right answers and samples of each class, int64[C]."""

    loss: float
    right: np.ndarray
    count: np.ndarray

    @property
    def accuracy(self):
        """Share of all samples that are classed right."""
        return float(self.right.sum() / max(self.count.sum(), 1))

    def local_accuracy(self, counts):
        """Mean over clients of the accuracy on test data with the client's own label mix.

        `counts` is int64[K, C], the training samples of each client and class; clients
        without samples are left out. This is the expected accuracy of a test set drawn
        for each client in proportion to its labels, without drawing one.
        """
        rates = self.right / np.maximum(self.count, 1)
        sizes = counts.sum(axis=1)
        mine = (counts * rates).sum(axis=1)[sizes > 0] / sizes[sizes > 0]
        return float(mine.mean()) if len(mine) else 0.0


def evaluate(engine, weights, samples, classes, comm):
    """Return the Score of `weights` float32[P] on all `samples`; collective over `comm`.

    Blocks are dealt over the ranks; counts are integers and each block's loss is computed
    by one rank, so the Score is the same for any number of ranks.
    """
    blocks = -(-len(samples) // BLOCK)
    losses, tally = np.zeros(blocks), np.zeros((2, classes), np.int64)
    for block in range(comm.rank, blocks, comm.size):
        index = np.arange(block * BLOCK, min((block + 1) * BLOCK, len(samples)))
        x, y = samples.take(index)
        logits = engine.outputs(weights, x).astype(np.float64)
        losses[block] = _cross_entropy(logits, y).sum()
        tally[0] += np.bincount(y[logits.argmax(axis=1) == y], minlength=classes)
        tally[1] += np.bincount(y, minlength=classes)
    comm.sum_array(losses)
    comm.sum_array(tally)
    return Score(float(losses.sum() / max(len(samples), 1)), tally[0], tally[1])


def _cross_entropy(logits, y):
    """float64[n]: -log softmax(logits)[y]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y]
