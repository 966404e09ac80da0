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


@pytest.mark.parametrize("kind", CASES)
def test_any_number_of_ranks_gives_the_same_bits(kind, comm):
    how = (*HOW, *CASES[kind])
    alone, expected = simulate("fedavg", how)
    together, rows = simulate("fedavg", how, comm=comm)
    assert alone.state["weights"].tobytes() == together.state["weights"].tobytes()
    told = ("test_accuracy", "test_loss", "train_loss", "flops", "virtual_time", "bytes_up")
    for row, other in zip(rows, expected, strict=True):
        assert [row.columns[name] for name in told] == [other.columns[name] for name in told]
    assert any(alone.state["weights"] != alone.experiment.weights)


ADAPTED = (
    "run.rounds=3", "run.engine=torch", "model.name=vit-tiny", "model.width=16", "model.depth=1",
    "model.heads=2", 'model.adapter={rank=4, targets=["*.attn.*", "*.mlp.*"]}',
)  # fmt: skip


@pytest.mark.parametrize("name", ["fedskel", "heterofl"])
def test_adapters_give_the_same_bits(name, comm):
    keys = {"fedskel": {"updates_per_set": 1}, "heterofl": {"widths": [1.0, 0.5]}}[name]
    alone, expected = simulate(name, ADAPTED, **keys)
    together, rows = simulate(name, ADAPTED, comm=comm, **keys)
    assert alone.state["weights"].tobytes() == together.state["weights"].tobytes()
    told = ("bytes_up", "bytes_down", "flops", "test_loss", "local_accuracy")
    for row, other in zip(rows, expected, strict=True):
        assert [row.columns[name] for name in told] == [other.columns[name] for name in told]


JUDGED = {
    "digits": (
        "data.name=digits", "model.name=softmax",
        'model.metrics=["top-5", "balanced-accuracy", "f1", "auc", "perplexity", '
        '"calibration-error"]',
    ),
    "labels": (
        "data.name=tests.learn.test_metrics:labelled", "model.name=softmax",
        "model.loss=bce", 'model.metrics=["f1", "auc"]',
    ),
    "numbers": (
        "data.name=tests.learn.test_metrics:measured", "model.name=softmax",
        "model.loss=mse", 'model.metrics=["rmse"]',
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", JUDGED)
def test_metrics_are_the_same_to_the_last_bit(kind, comm):
    how = (*HOW, *JUDGED[kind])
    _, expected = simulate("fedavg", how)
    _, rows = simulate("fedavg", how, comm=comm)
    for row, other in zip(rows, expected, strict=True):
        assert row.metrics == other.metrics and row.metrics
        told = (row.columns["test_loss"], other.columns["test_loss"])
        assert told[0] == told[1] > 0
