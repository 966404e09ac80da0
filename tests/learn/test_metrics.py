"""Losses and metrics against scikit-learn, and in whole runs."""

from importlib import import_module

import numpy as np
import pytest
from torch import nn
from torch.nn import functional

import fedmpi
from fedmpi.analysis.report.page import page
from fedmpi.analysis.text_tables import table
from fedmpi.comm.base import Serial
from fedmpi.errors import ConfigError, DataError
from fedmpi.experiment.resolve import of_tree
from fedmpi.learn.engine import BLOCK
from fedmpi.learn.evaluate import evaluate
from fedmpi.learn.losses import mean_loss
from fedmpi.learn.metrics import METRICS, column_of, softmax
from fedmpi.learn.sample_arrays import Samples
from tests.learn.halves import halves

N = 2 * BLOCK + 37  # three blocks, the last one short
RNG = np.random.default_rng(8)
LOGITS = RNG.standard_normal((N, 8)) * 2
CLASSES = RNG.choice(8, N, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.06, 0.04, 0.0])  # one never occurs
SURE = softmax(LOGITS)
LABELS = (RNG.random((N, 8)) < 0.3).astype(np.float32)
NUMBERS = (LOGITS + RNG.standard_normal((N, 8))).astype(np.float32)
ANSWERS = LOGITS.argmax(axis=1)
there = np.arange(7)
sklearn = None  # scikit-learn's metrics


@pytest.fixture(autouse=True, scope="module")
def loaded():
    """Load scikit-learn, which takes seconds, only where these tests run."""
    global sklearn
    sklearn = import_module("sklearn.metrics")


class Given:
    """An engine that gives outputs that are given; `x` are places."""

    def __init__(self, outputs, loss):
        self._outputs, self.data = outputs, self
        self.loss = loss

    def outputs_at(self, weights, samples, index):
        x, y = samples.take(index)
        return self._outputs[x], y


def value_of(name, outputs, targets, loss):
    samples, metric = Samples(np.arange(len(targets)), targets), METRICS[name]()
    score = evaluate(Given(outputs, loss), None, samples, 8, Serial(), [(column_of(name), metric)])
    return score.metrics[column_of(name)]


def calibration_error():
    sure, right, total = SURE.max(axis=1), ANSWERS == CLASSES, 0.0
    for k in range(15):
        inside = (sure > k / 15) & (sure <= (k + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(sure[inside].mean() - right[inside].mean())
    return total


OF_CLASSES = {
    "accuracy": lambda: sklearn.accuracy_score(CLASSES, ANSWERS),
    "top-5": lambda: sklearn.top_k_accuracy_score(CLASSES, LOGITS, k=5, labels=np.arange(8)),
    "balanced-accuracy": lambda: sklearn.recall_score(
        CLASSES, ANSWERS, labels=there, average="macro"
    ),
    "f1": lambda: sklearn.f1_score(CLASSES, ANSWERS, average="macro"),
    "auc": lambda: np.mean([sklearn.roc_auc_score(k == CLASSES, SURE[:, k]) for k in there]),
    "perplexity": lambda: np.exp(sklearn.log_loss(CLASSES, SURE, labels=np.arange(8))),
    "calibration-error": calibration_error,
}
OF_LABELS = {
    "accuracy": lambda: sklearn.accuracy_score(LABELS, LOGITS > 0),
    "f1": lambda: sklearn.f1_score(LABELS, LOGITS > 0, average="macro"),
    "auc": lambda: sklearn.roc_auc_score(LABELS, LOGITS),
}
OF_NUMBERS = {"rmse": lambda: sklearn.root_mean_squared_error(NUMBERS, LOGITS)}


@pytest.mark.parametrize(
    ("wanted", "targets", "loss"),
    [
        (OF_CLASSES, CLASSES, "cross-entropy"),
        (OF_LABELS, LABELS, "bce"),
        (OF_NUMBERS, NUMBERS, "mse"),
    ],
    ids=["class", "labels", "numbers"],
)
def test_metrics_are_those_of_scikit_learn(wanted, targets, loss):
    kind = {"cross-entropy": "class", "bce": "labels", "mse": "numbers"}[loss]
    own = {name for name, cls in METRICS.items() if cls.__module__.startswith("fedmpi.")}
    assert {name for name in own if kind in METRICS[name].targets} == set(wanted)
    for name, expected in wanted.items():
        assert value_of(name, LOGITS, targets, loss) == pytest.approx(expected(), rel=1e-9), name


def test_tokens_are_judged_one_by_one():
    outputs, tokens = LOGITS[:1000].reshape(100, 10, 8), CLASSES[:1000].reshape(100, 10)
    found = value_of("f1", outputs, tokens, "next-token")
    expected = sklearn.f1_score(CLASSES[:1000], ANSWERS[:1000], average="macro")
    assert found == pytest.approx(expected, rel=1e-12)


def test_an_area_with_equal_scores_and_with_one_class_alone():
    metric = METRICS["auc"]()
    outputs, y = np.zeros((4, 2)), np.array([0, 1, 1, 0])
    assert metric.value(metric.parts(outputs, y)) == 0.5
    assert np.isnan(metric.value(metric.parts(outputs, np.zeros(4, np.int64))))


def test_losses_are_those_of_scikit_learn():
    assert mean_loss("cross-entropy", LOGITS, CLASSES) == pytest.approx(
        sklearn.log_loss(CLASSES, SURE, labels=np.arange(8)), rel=1e-9
    )
    chances = 1 / (1 + np.exp(-LOGITS))
    pairs = zip(LABELS.T, chances.T, strict=True)
    expected = np.mean([sklearn.log_loss(y, p) for y, p in pairs])
    assert mean_loss("bce", LOGITS, LABELS) == pytest.approx(expected, rel=1e-9)
    assert mean_loss("mse", LOGITS, NUMBERS) == pytest.approx(
        sklearn.mean_squared_error(NUMBERS, LOGITS), rel=1e-9
    )
    y, five = CLASSES % 5, LOGITS[:, :5]  # a loss whose own weights are float32, by hand
    each = np.log(np.exp(five).sum(1)) - five[np.arange(len(y)), y]
    assert mean_loss("tests.learn.test_batched_models:weighted", five, y) == pytest.approx(
        np.average(each, weights=1.0 + (y == 4)), rel=1e-5
    )
    assert mean_loss("next-token", LOGITS[:10].reshape(2, 5, 8), CLASSES[:10].reshape(2, 5)) == (
        pytest.approx(mean_loss("cross-entropy", LOGITS[:10], CLASSES[:10]), rel=1e-12)
    )


@fedmpi.loss(target="numbers")
def huber(outputs, targets):
    """Huber's loss."""
    return functional.huber_loss(outputs, targets)


class Worst(fedmpi.Metric):
    """The largest error."""

    targets = ("numbers",)
    whole = True

    def parts(self, outputs, targets):
        return np.abs(outputs - targets).max(axis=1, keepdims=True)

    def value(self, parts):
        return parts.max()


@fedmpi.model
def every_token(input_shape, classes):
    """An embedding and a linear layer for each token."""
    return nn.Sequential(Tokens(classes, 4), nn.Linear(4, classes))


class Tokens(nn.Embedding):
    def forward(self, x):
        return super().forward(x.long())


def run(tmp_path, **sections):
    tree = {
        "run": {"rounds": 8, "eval_every": 2},
        "data": {"name": "tests.learn.halves:labelled"},
        "clients": {"number": 4, "local_epochs": 5},
        "model": {"name": "softmax"},
        "optimizer": {"lr": 0.3},
    }
    return fedmpi.run(tree | sections, out=tmp_path / "a.h5")


def test_labels_are_learned_and_judged(tmp_path):
    model = {"name": "softmax", "loss": "bce", "metrics": ["accuracy", "f1", "auc"]}
    found = run(tmp_path, model=model)
    assert found.metric_names == ("accuracy", "f1", "auc")
    auc = found.rounds["auc"]
    assert np.isnan(auc[0]) and auc[-1] > 0.9 and auc[-1] > auc[1] - 0.05
    assert np.isnan(found.rounds["test_accuracy"]).all()
    assert found.rounds["test_loss"][-1] < found.rounds["test_loss"][1]
    more = fedmpi.resume(tmp_path / "a.h5", ["run.rounds=10"], allow_code=True)
    assert len(more.rounds["f1"]) == 10 and more.rounds["f1"][7] == found.rounds["f1"][7]
    assert "auc" in next(iter(table(more)))
    shown = page([more])
    assert ">Metrics of the last evaluation<" in shown and "f1 over rounds" in shown
    assert f"{more.rounds['auc'][-1]:.4g}" in shown


def test_numbers_are_learned_by_a_loss_of_ones_own(tmp_path):
    here = "tests.learn.test_metrics:"
    model = {"name": "softmax", "loss": here + "huber", "metrics": ["rmse", here + "Worst"]}
    found = run(tmp_path, model=model, data={"name": "tests.learn.halves:measured"})
    rmse = found.rounds["rmse"]
    assert rmse[-1] < 0.7 * rmse[1]
    assert (found.rounds["Worst"][1::2] > rmse[1::2]).all()


def test_each_token_is_learned(tmp_path):
    data = {"name": "tests.learn.test_metrics:cycle"}
    model = {"name": "tests.learn.test_metrics:every_token", "loss": "next-token",
             "metrics": ["perplexity"]}  # fmt: skip
    found = run(tmp_path, model=model, data=data, optimizer={"lr": 1.0})
    assert found.rounds["perplexity"][-1] < found.rounds["perplexity"][1] < 5
    assert found.rounds["test_accuracy"][-1] == 1.0
    assert found.rounds["perplexity"][-1] == pytest.approx(np.exp(found.rounds["test_loss"][-1]))


@fedmpi.dataset
def cycle(root):
    """Sequences of five letters, each followed by the next one."""
    text = (np.arange(100)[:, None] + np.arange(7)) % 5
    x, y = text[:, :-1].astype(np.uint8), text[:, -1]
    return fedmpi.Dataset.of("cycle", "text", (x, y), (x[:9], y[:9]), 5)


FAULTS = {
    "model.loss = 'mae': unknown loss": {"loss": "mae"},
    "model.metrics = 'f2': unknown metric; known: accuracy, top-5": {"metrics": ["f2"]},
    "'rmse': is for data with numbers, but model.loss = 'cross-entropy' is for class": {
        "metrics": ["rmse"]
    },
    "two columns would have the name 'top_5'": {"metrics": ["top-5", "top-5"]},
    "must be a function .* with the decorator @fedmpi.loss": {
        "loss": "tests.learn.test_metrics:softmax"
    },
}


@pytest.mark.parametrize("message", FAULTS)
def test_wrong_names_are_told_before_anything_runs(message):
    with pytest.raises(ConfigError, match=message):
        of_tree({"model": {"name": "softmax"} | FAULTS[message]})


def test_data_and_outputs_that_do_not_fit_the_loss_are_told(tmp_path):
    with pytest.raises(ConfigError, match=r"model.loss = 'mse': compares outputs with numbers.*"
                       r"'digits' has classes; use cross-entropy"):  # fmt: skip
        run(tmp_path, data={"name": "digits"}, model={"name": "softmax", "loss": "mse"})
    data = {"name": "tests.learn.test_metrics:letters"}
    model = {"name": "tests.learn.test_metrics:last", "loss": "next-token"}
    with pytest.raises(ConfigError, match=r"outputs of shape \[N, 10\].*needs \[N, 64, 10\]"):
        run(tmp_path, data=data, model=model)
    with pytest.raises(DataError, match="labels are 0 or 1"):
        halves("labels", lambda x: x[:, :3], 3)
    with pytest.raises(DataError, match="2 values a sample, and classes = 3"):
        halves("numbers", lambda x: x[:, :2], 3)


@fedmpi.dataset
def letters(root):
    """Sequences of 64 letters."""
    x = np.random.default_rng(1).integers(0, 10, (50, 64)).astype(np.uint8)
    return fedmpi.Dataset.of("letters", "text", (x, x[:, 0]), (x, x[:, 0]), 10)


@fedmpi.model
def last(input_shape, classes):
    """One answer a sequence."""
    return nn.Sequential(Tokens(classes, 2), nn.Flatten(), nn.Linear(128, classes))


def test_outputs_that_are_no_numbers_are_not_among_the_right_five():
    outputs, targets = np.full((3, 8), np.nan, np.float32), np.array([0, 5, 7])
    outputs[2, 7] = 1.0  # the only number: seven others may be larger
    assert value_of("top-5", outputs, targets, "cross-entropy") == 0
    assert value_of("top-5", outputs[:, :4], targets % 4, "cross-entropy") == 0
    assert value_of("top-5", np.zeros((3, 4), np.float32), targets % 4, "cross-entropy") == 1
