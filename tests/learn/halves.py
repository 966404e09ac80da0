"""Small data sets whose targets are labels or numbers, half of them for the test."""

import numpy as np

import fedmpi


def halves(target, y, classes):
    """Return a data set of 80 samples and 40 for the test, whose targets are y(features)."""
    x = np.random.default_rng(1).standard_normal((120, 5)).astype(np.float32)
    return fedmpi.Dataset.of(
        "made", "features", (x[:80], y(x)[:80]), (x[80:], y(x)[80:]), classes, target=target
    )


@fedmpi.dataset
def labelled(root):
    """Three labels, each the sign of a feature."""
    return halves("labels", lambda x: x[:, :3] > 0, 3)


@fedmpi.dataset
def measured(root):
    """Two numbers, linear in the features."""
    return halves("numbers", lambda x: x[:, :2] + x[:, 2:4], 2)
