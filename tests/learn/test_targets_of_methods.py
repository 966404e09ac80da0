"""What methods that need classes do with other targets, and the classes that each client holds."""

import re

import numpy as np
import pytest

import fedmpi
from fedmpi.errors import ConfigError
from fedmpi.experiment.resolve import of_tree
from fedmpi.learn import held_classes as module
from fedmpi.learn.data.dataset import Dataset
from fedmpi.learn.held_classes import held_classes
from fedmpi.learn.partitions.partition import from_owner
from fedmpi.learn.sample_arrays import Samples
from fedmpi.round.loop import Simulation
from tests.algorithms.problem import assemble_tree

OWNER = np.array([2, 0, 0, -1, 2, 0])  # client 1 has nothing
WORDS = np.array([[0, 1], [2, 2], [2, 4], [3, 3], [0, 4], [2, 2]])
LABELS = np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 1, 1], [0, 1, 0], [0, 0, 1]])
FEATURES = np.linspace(-1, 1, 36, dtype=np.float32).reshape(6, 6)


@fedmpi.dataset
def numbers(root):
    """Three numbers of each sample."""
    half = FEATURES, FEATURES[:, :3]
    return Dataset.of("numbers", "features", half, half, 3, target="numbers")


@fedmpi.dataset
def labels(root):
    """Three labels of each sample."""
    half = FEATURES, LABELS.astype(np.float32)
    return Dataset.of("labels", "features", half, half, 3, target="labels")


@pytest.mark.parametrize("block", [2, 100])
def test_every_label_and_token_of_a_client_counts(monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)

    def of(samples, classes, target):
        found = held_classes(samples, from_owner(OWNER, 3), classes, target)
        return [np.flatnonzero(row).tolist() for row in found]

    x, classes = FEATURES, np.array([3, 0, 0, 1, 2, 0])
    assert of(Samples(x, classes), 4, "class") == [[0], [], [2, 3]]
    assert of(Samples(x, LABELS.astype(np.float32)), 3, "labels") == [[2], [], [0, 1]]
    assert of(Samples(x, WORDS), 5, "tokens") == [[2, 4], [], [0, 1, 4]]
    text = Samples(WORDS.astype(np.uint8), classes, following=True)
    assert of(text, 5, "tokens") == [[0, 2, 4], [], [1, 2, 3, 4]]


@pytest.mark.parametrize("name", ["heterofl-complete", "fedrolex-complete"])
@pytest.mark.parametrize(("data", "loss"), [
    ({"name": f"{__name__}:numbers"}, "mse"),
    ({"name": "synthetic-on-demand", "inputs": 6, "classes": 3, "test_clients": 2,
      "partition": "natural"}, "cross-entropy"),
])  # fmt: skip
def test_without_classes_nothing_is_masked_in_silence(name, data, loss):
    """Numbers have no classes, and clients that draw their samples have none before the run."""
    tree = {"data": data, "clients": {"number": 2}, "algorithm": {"name": name},
            "model": {"name": "mlp", "hidden": [3], "loss": loss}}  # fmt: skip
    with pytest.raises(ConfigError, match=f"{name}: sets the outputs of classes"):
        assemble_tree(tree)


@pytest.mark.parametrize("name", ["lotteryfl", "sub-fedavg", "fedtiny"])
@pytest.mark.parametrize(("target", "loss", "kind"), [
    ("numbers", "mse", "numbers"), ("labels", "bce", "labels of 0 or 1"),
])  # fmt: skip
def test_a_method_that_measures_accuracies_is_refused_before_any_round(name, target, loss, kind):
    """It was refused in round 0 or later, by a message that did not name it."""
    tree = {"data": {"name": f"{__name__}:{target}"}, "algorithm": {"name": name},
            "model": {"name": "mlp", "hidden": [3], "loss": loss}}  # fmt: skip
    message = (f"algorithm.name = '{name}': is for data with classes or tokens, but data.name = "
               f"'{__name__}:{target}' with model.loss = '{loss}' has {kind}; take other data")
    with pytest.raises(ConfigError, match=re.escape(message)):
        of_tree(tree)


def test_fedtiny_without_a_choice_needs_no_accuracies():
    tree = {"data": {"name": f"{__name__}:numbers"}, "model": {"name": "mlp", "loss": "mse"},
            "algorithm": {"name": "fedtiny", "candidates": 1}}  # fmt: skip
    assert of_tree(tree).loss.target == "numbers"


@pytest.mark.parametrize("engine", ["kernels", "torch", "batched", "debug"])
def test_an_error_of_classes_is_refused_for_other_targets(engine):
    """The kernels ended in an error of numba, and torch took numbers for probabilities."""
    tree = {"run": {"engine": engine}, "data": {"name": f"{__name__}:numbers"},
            "clients": {"number": 2}, "algorithm": {"name": "skeletonization"},
            "model": {"name": "mlp", "hidden": [3], "loss": "mse"}}  # fmt: skip
    message = "would minimise 'cross-entropy', which compares outputs with classes, but .* numbers"
    with pytest.raises(ConfigError, match=message):
        Simulation(*assemble_tree(tree)).round()
