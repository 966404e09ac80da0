"""Models, losses and metrics of any kind give the same bits on these ranks as on one."""

import pytest

from tests.algorithms.problem import simulate
from tests.learn.any_models import BUILD

HOW = (
    "run.rounds=1", "run.engine=torch", "clients.number=4", "clients.per_round=4",
    "clients.local_steps=2",
)  # fmt: skip


CASES = {
    kind: ("model.name=tests.learn.any_models:named", f"model.kind={kind}") for kind in BUILD
} | {
    "lstm": ("model.name=char-lstm", "data.name=tests.faults.own:verses", "clients.batch_size=4"),
    "batch norm": ("model.name=resnet20", "clients.batch_size=4"),
    "batched dropout": (
        "run.engine=batched", "run.chunk=3", "model.name=tests.learn.any_models:named",
        "model.kind=encoder", "clients.number=8", "clients.per_round=8",
    ),
    "batched tokens": (
        "run.engine=batched", "run.chunk=3", "model.name=char-transformer", "model.width=8",
        "model.heads=2", "model.every_token=true", "model.loss=next-token",
        "data.name=tests.faults.own:verses", "clients.batch_size=4",
    ),
}  # fmt: skip


def trained(kind, comm=None):
    """Return the first weights, the weights after a round, and the round's columns."""
    run, rows = simulate("fedavg", (*HOW, *CASES[kind]), comm=comm)
    told = ("test_accuracy", "test_loss", "train_loss", "flops", "virtual_time", "bytes_up")
    columns = [[row.columns[name] for name in told] for row in rows]
    return run.experiment.weights, run.state["weights"], columns


@pytest.mark.alone(run=trained)
@pytest.mark.parametrize("kind", CASES)
def test_any_number_of_ranks_gives_the_same_bits(kind, comm, alone):
    first, weights, columns = trained(kind, comm)
    assert weights.tobytes() == alone[1].tobytes()
    assert columns == alone[2]
    assert any(weights != first)


ADAPTED = (
    "run.rounds=3", "run.engine=torch", "model.name=vit-tiny", "model.width=16", "model.depth=1",
    "model.heads=2", 'model.adapter={rank=4, targets=["*.attn.*", "*.mlp.*"]}',
)  # fmt: skip


def adapted(name, comm=None):
    """Return the weights after three rounds on an adapted model, and the rounds' columns."""
    keys = {"fedskel": {"updates_per_set": 1}, "heterofl": {"widths": [1.0, 0.5]}}[name]
    run, rows = simulate(name, ADAPTED, comm=comm, **keys)
    told = ("bytes_up", "bytes_down", "flops", "test_loss", "local_accuracy")
    return run.state["weights"].tobytes(), [[row.columns[key] for key in told] for row in rows]


@pytest.mark.alone(run=adapted)
@pytest.mark.parametrize("name", ["fedskel", "heterofl"])
def test_adapters_give_the_same_bits(name, comm, alone):
    assert adapted(name, comm) == alone


JUDGED = {
    "digits": (
        "data.name=digits", "model.name=softmax",
        'model.metrics=["top-5", "balanced-accuracy", "f1", "auc", "perplexity", '
        '"calibration-error"]',
    ),
    "labels": (
        "data.name=tests.learn.halves:labelled", "model.name=softmax",
        "model.loss=bce", 'model.metrics=["f1", "auc"]',
    ),
    "numbers": (
        "data.name=tests.learn.halves:measured", "model.name=softmax",
        "model.loss=mse", 'model.metrics=["rmse"]',
    ),
    "a loss of torch on the kernels": (
        "run.engine=kernels", "data.name=tests.learn.halves:measured", "model.name=softmax",
        "model.loss=tests.learn.test_metrics:huber", 'model.metrics=["rmse"]',
    ),
}  # fmt: skip


def judged(kind, comm=None):
    """Return the metrics and the test loss of a round."""
    _, rows = simulate("fedavg", (*HOW, *JUDGED[kind]), comm=comm)
    return [(row.metrics, row.columns["test_loss"]) for row in rows]


@pytest.mark.alone(run=judged)
@pytest.mark.parametrize("kind", JUDGED)
def test_metrics_are_the_same_to_the_last_bit(kind, comm, alone):
    found = judged(kind, comm)
    assert found == alone
    assert all(metrics and loss > 0 for metrics, loss in found)
