"""The metrics by name. They agree with scikit-learn if it has the same metric."""

import numpy as np

from fedmpi.arrays import AnyArray, Bools, Reals
from fedmpi.learn.losses import cross_entropies, softmax
from fedmpi.metric import METRICS, Metric

__all__ = ["METRICS", "column_of"]


def column_of(name: str) -> str:
    """Return the name of a metric's column in the result file."""
    return name.rpartition(":")[2].replace("-", "_")


class Accuracy(Metric, name="accuracy"):
    """Share of the samples that are answered correctly; for labels, with all labels right."""

    targets: tuple[str, ...] = ("class", "tokens", "labels")

    def parts(self, outputs: Reals, targets: AnyArray) -> Reals:
        """Return the number of right samples, and of all samples."""
        if targets.ndim == 2:
            return np.array([((outputs > 0) == (targets > 0)).all(axis=1).sum(), len(targets)])
        return np.array([(outputs.argmax(axis=1) == targets).sum(), len(targets)])

    def value(self, parts: Reals) -> float:
        return float(parts[0] / parts[1])


class TopFive(Accuracy, name="top-5"):
    """Share of the samples whose class is among the five with the largest outputs.

    A NaN output counts as larger than any number, so a network that diverged is never right.
    """

    targets = ("class", "tokens")

    def parts(self, outputs: Reals, targets: AnyArray) -> Reals:
        """Return the number of right samples, and of all samples."""
        own = outputs[np.arange(len(targets)), targets]
        smaller = (outputs <= own[:, None]).sum(axis=1)  # including the class's own output
        right = (outputs.shape[1] - smaller < 5) & ~np.isnan(own)
        return np.array([right.sum(), len(targets)])


class BalancedAccuracy(Metric, name="balanced-accuracy"):
    """Mean, over the classes that occur, of the share of their samples classified correctly."""

    def parts(self, outputs: Reals, targets: AnyArray) -> Reals:
        """Return the number of right samples of each class, then of all its samples."""
        classes = outputs.shape[1]
        right = targets[outputs.argmax(axis=1) == targets]
        both = (np.bincount(found, minlength=classes) for found in (right, targets))
        return np.concatenate(list(both))

    def value(self, parts: Reals) -> float:
        right, there = parts.reshape(2, -1)
        return float((right[there > 0] / there[there > 0]).mean())


class F1(Metric, name="f1"):
    """Mean over classes or labels of 2 tp / (2 tp + fp + fn).

    Classes that neither occur nor are predicted are left out; labels of this kind count as 0.
    """

    targets = ("class", "tokens", "labels")

    def parts(self, outputs: Reals, targets: AnyArray) -> Reals:
        """Return each class's right predictions, predictions and samples; then 1 for labels."""
        if targets.ndim == 2:
            found, there = outputs > 0, targets > 0
        else:
            rows = np.arange(outputs.shape[1])
            found, there = (one[:, None] == rows for one in (outputs.argmax(axis=1), targets))
        counts = ((found & there).sum(axis=0), found.sum(axis=0), there.sum(axis=0))
        return np.concatenate([*counts, [float(targets.ndim == 2)]])

    def value(self, parts: Reals) -> float:
        right, found, there = parts[:-1].reshape(3, -1)
        scores = 2 * right / np.maximum(found + there, 1)
        return float(scores.mean() if parts[-1] else scores[found + there > 0].mean())


class Auc(Metric, name="auc"):
    """Mean over classes or labels of the area under the ROC curve, each against all others.

    It is the probability that a sample of the class has a higher softmax (for labels, output) than
    a sample outside it (Mann and Whitney, 1947). Classes that hold all samples, or none, are left
    out.
    """

    targets = ("class", "labels")
    whole = True

    def parts(self, outputs: Reals, targets: AnyArray) -> Reals:
        """Return the scores of each class or label, then its targets as zeros and ones."""
        if targets.ndim == 2:
            return np.hstack([outputs, targets > 0])
        return np.hstack([softmax(outputs), targets[:, None] == np.arange(outputs.shape[1])])

    def value(self, parts: Reals) -> float:
        scores, there = np.hsplit(parts, 2)
        areas = [_area(scores[:, k], there[:, k] > 0) for k in range(scores.shape[1])]
        areas = [area for area in areas if not np.isnan(area)]
        return float(np.mean(areas)) if areas else np.nan


class Perplexity(Metric, name="perplexity"):
    """exp of the mean cross-entropy."""

    def parts(self, outputs: Reals, targets: AnyArray) -> Reals:
        """Return the sum of the cross-entropies, and their number."""
        return np.array([cross_entropies(outputs, targets).sum(), len(targets)])

    def value(self, parts: Reals) -> float:
        with np.errstate(over="ignore"):
            return float(np.exp(parts[0] / parts[1]))


class Rmse(Metric, name="rmse"):
    """Mean over the numbers of a sample of the root of the mean squared error."""

    targets = ("numbers",)

    def parts(self, outputs: Reals, targets: AnyArray) -> Reals:
        """Return the sum of the squared errors of each number, and the number of samples."""
        return np.append(np.square(outputs - targets).sum(axis=0), len(targets))

    def value(self, parts: Reals) -> float:
        return float(np.sqrt(parts[:-1] / parts[-1]).mean())


class CalibrationError(Metric, name="calibration-error"):
    """Expected calibration error: mean distance between the softmax and the share of right answers.

    Samples are divided into 15 bins ((k - 1) / 15, k / 15] by their largest softmax p (Guo et al.,
    ICML 2017, arXiv:1706.04599).
    """

    bins = 15

    def parts(self, outputs: Reals, targets: AnyArray) -> Reals:
        """Return the sum of p, the right answers and the samples of each bin."""
        sure = softmax(outputs).max(axis=1)
        right = outputs.argmax(axis=1) == targets
        bins = np.clip(np.ceil(sure * self.bins).astype(int) - 1, 0, self.bins - 1)
        sums = (np.bincount(bins, weights, self.bins) for weights in (sure, right, None))
        return np.concatenate(list(sums))

    def value(self, parts: Reals) -> float:
        sure, right, there = parts.reshape(3, -1)
        return float(np.abs(sure - right).sum() / there.sum())


def _area(scores: Reals, there: Bools) -> float:
    """Return the area under the ROC curve of float64[n] for bool[n]; NaN if all are the same."""
    positive, negative = there.sum(), (~there).sum()
    if not positive or not negative:
        return np.nan
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(count) - (count - 1) / 2  # equal scores get the mean of their ranks
    above = ranks[place][there].sum() - positive * (positive + 1) / 2
    return float(above / (positive * negative))
