"""Users' code that returns something wrong: the message has the place and both shapes."""

import numpy as np
import pytest
import torch
from torch import nn

import fedmpi
from fedmpi.errors import ConfigError, FedmpiError

TREE = {
    "run": {"rounds": 2, "engine": "torch"},
    "clients": {"number": 6, "per_round": 3},
    "model": {"name": "softmax"},
}


class Right(fedmpi.Algorithm):
    """A method without a fault; those below change one answer each."""

    def plan(self, state, round, client):
        everything = fedmpi.Support.all(self.layout)
        return fedmpi.Plan(down=everything, up=everything)


def method(**answers):
    """Return a class whose methods return what `answers` say; a callable gets the object."""
    def answer(value):
        return lambda self, *words: value(self, *words) if callable(value) else value

    answers = {name: answer(value) for name, value in answers.items()}
    return type("Mine", (Right,), answers | {"__module__": __name__})


def plan_with(**what):
    """Return a `plan` with other fields."""
    def plan(self, *_):
        everything = fedmpi.Support.all(self.layout)
        found = {name: value(self) if callable(value) else value for name, value in what.items()}
        return fedmpi.Plan(**({"down": everything, "up": everything} | found))

    return plan


def flags(level, size, kind=np.uint8):
    return lambda self: fedmpi.Support(self.layout, level, np.ones(size, kind))


METHODS = {
    "plan returned None; it must return a fedmpi.Plan": method(plan=None),
    "plan: up is float64[7]; it must be a fedmpi.Support": method(plan=plan_with(up=np.ones(7))),
    "keep is uint8[7]; it must be uint8[650], a flag for each coordinate":
        method(plan=plan_with(up=flags("coordinate", 7))),
    "keep is int64[650]; it must be uint8[650], a flag for each coordinate":
        method(plan=plan_with(up=flags("coordinate", 650, int))),
    "plan: mask is float32[650]; it must be uint8[650]":
        method(plan=plan_with(mask=np.ones(650, np.float32))),
    "level 'rows': must be one of model, layer, tensor, row, coordinate":
        method(plan=plan_with(up=flags("rows", 7))),
    "plan: update is uint8[5]; it must be uint8[650]":
        method(plan=plan_with(update=np.ones(5, np.uint8))),
    'step returned a dict of \'w\'; it must return a dict of arrays with "weights", float32[650]':
        method(step={"w": np.zeros(650)}),
    "step: 'weights' is float64[650]; it must be float32[650]":
        method(step={"weights": np.zeros(650)}),
    "start: 'weights' is float32[4]; it must be float32[650]":
        method(start=lambda self, weights: {"weights": weights[:4]}),
    'message returned the parts nothing; "weights" must be among them': method(message={}),
    "message: 'weights' is float32[650]; it must be a fedmpi.Part(values, support)":
        method(message=lambda self, job, report: {"weights": report.weights}),
    "values of 'weights' is float32[5]; it must be float32[650]":
        method(message=lambda self, job, report: {
            "weights": fedmpi.Part(report.weights[:5], job.plan.up)}),
    "zero returned None; it must return a dict of fedmpi.Total": method(zero=None),
    "remember returned float64[3]; it must return a dict of numpy arrays":
        method(remember=np.zeros(3)),
    "kept returned float64[3]; it must return uint8[650] or None": method(kept=np.ones(3)),
}


@pytest.mark.parametrize("message", METHODS)
def test_what_a_method_returns_wrong_is_named_with_both_shapes(message, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "Mine", METHODS[message])
    with pytest.raises(FedmpiError) as caught:
        fedmpi.run(TREE | {"algorithm": {"name": METHODS[message]}}, out=tmp_path / "a.h5")
    assert str(caught.value).startswith(f"{__name__}.Mine.") and message in str(caught.value)


def asks(*ids):
    """Return a rule that selects `ids`."""
    return type("Rule", (fedmpi.Selector,), {
        "__module__": __name__, "select": lambda self, *_, **__: np.array(ids)})


SELECTORS = {
    "select returned 2 ids, 1 of them different": asks(0, 0),
    "select returned client 999; clients are 0 to 5": asks(0, 999),
    "select returned float64[1]; it must return at most 3 different ids": asks(0.5),
}


@pytest.mark.parametrize("message", SELECTORS)
def test_what_a_rule_of_selection_returns_wrong(message, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "Rule", SELECTORS[message])
    clients = TREE["clients"] | {"selection": SELECTORS[message]}
    with pytest.raises(FedmpiError, match="Rule") as caught:
        fedmpi.run(TREE | {"clients": clients}, out=tmp_path / "a.h5")
    assert message in str(caught.value)


def says(answer):
    """Return a stage whose `client` returns answer(parts, memory)."""
    return type("Step", (fedmpi.Stage,), {
        "__module__": __name__,
        "client": lambda self, job, parts, memory: answer(parts, memory)})


STAGES = {
    "client returned a dict of 'weights'; it must return the pair": says(lambda p, m: p),
    "values of 'weights' is float32[2]; it must be float32[650]": says(lambda p, m: (
        {"weights": p["weights"]._replace(values=np.zeros(2, np.float32))}, m)),
    "memory: 'a' is a int; it must be a numpy array": says(lambda p, m: (p, {"a": 3})),
}


@pytest.mark.parametrize("message", STAGES)
def test_what_a_stage_returns_wrong(message, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "Step", STAGES[message])
    with pytest.raises(FedmpiError, match="Step") as caught:
        fedmpi.run(TREE | {"stage": [{"name": STAGES[message]}]}, out=tmp_path / "a.h5")
    assert message in str(caught.value)


@fedmpi.model
def three_outputs(input_shape, classes):
    """Return a model for other data."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def test_a_model_with_too_few_outputs_is_refused_before_the_first_round(tmp_path):
    with pytest.raises(ConfigError, match=r"returns float32\[2, 3\], .* return float32\[2, 10\]"):
        fedmpi.run(TREE | {"model": {"name": three_outputs}}, out=tmp_path / "a.h5")


class Short(Right):
    """A method whose `message` takes too little."""

    def message(self, job):
        return {}


class Any(Right):
    """A method whose `message` takes whatever comes."""

    def message(self, *words):
        return super().message(*words)


def test_a_method_that_takes_other_parameters_is_refused_before_the_first_round(tmp_path):
    wanted = r"Short.message takes \(self, job\); it must take \(self, job, report\)"
    with pytest.raises(ConfigError, match=wanted):
        fedmpi.run(TREE | {"algorithm": {"name": Short}}, out=tmp_path / "a.h5")
    assert fedmpi.run(TREE | {"algorithm": {"name": Any}}, tmp_path / "a.h5").status == "finished"


class Root(nn.Module):
    """A linear layer whose weights are the model's own."""

    def __init__(self, classes):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(64, classes))

    def forward(self, x):
        return x.flatten(1) @ self.table


@fedmpi.model
def with_a_table(input_shape, classes):
    """Return a model without layers."""
    return Root(classes)


def test_a_model_that_cannot_lose_channels_is_refused_by_the_name_of_its_parameters(tmp_path):
    tree = TREE | {"model": {"name": with_a_table}}
    with pytest.raises(ConfigError, match="model: Root has table, which are not the weight and"):
        fedmpi.run(tree | {"algorithm": {"name": "heterofl"}}, out=tmp_path / "a.h5")
    assert fedmpi.run(tree, out=tmp_path / "a.h5", overwrite=True).status == "finished"
