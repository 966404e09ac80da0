"""Users' code that returns something wrong: the message has the place and both shapes."""

import numpy as np
import pytest
import torch
from torch import nn

import fedmpi
from fedmpi.errors import ConfigError, FedmpiError
from fedmpi.exchange import Coding
from fedmpi.layout import Layout
from fedmpi.plan import Backward, Own, Submodel
from fedmpi.privacy import Noise

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
    """Return a class whose methods return `answers`; a callable answer gets the object."""
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


def coded(coding):
    """Return a `message` whose weights have a coding."""
    return lambda self, job, report: {
        "weights": fedmpi.Part(report.weights, job.plan.up, coding=coding)}


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
    "coding of 'weights' is an int; it must be a fedmpi.Coding": method(message=coded(8)),
    "value_type is 'int7'; it must be int8, int4, stream or ones":
        method(message=coded(Coding("int7"))),
    "scales is None; it must be float32[2], none of them negative":
        method(message=coded(Coding("int8"))),
    "scales is float64[2]; it must be": method(message=coded(Coding("int4", np.ones(2)))),
    "scales is float32[2]; it must be float32[2], none of them negative":
        method(message=coded(Coding("int8", np.full(2, -1, np.float32)))),
    "bytes is -5; it must be a whole number": method(message=coded(Coding("stream", None, -5))),
    "zero returned None; it must return a dict of fedmpi.Total": method(zero=None),
    "remember returned float64[3]; it must return a dict of numpy arrays":
        method(remember=np.zeros(3)),
    "kept returned float64[3]; it must return uint8[650] or None": method(kept=np.ones(3)),
    "kept returned float64[650]; it must": method(kept=np.ones(650)),
    "kept is 2; it must be uint8 of 0 and 1": method(kept=np.full(650, 2, np.uint8)),
    "density is 1.5; it must be a number from 0 to 1": method(density=1.5),
    "density is nan; it must be a number from 0 to 1": method(density=np.nan),
    "load is -1; it must be a finite number": type("Mine", (method(load=-1),), {
        "remembers": True, "__module__": __name__}),
    "own: weights is float64[650]; it must be float32[650]": type(
        "Mine", (method(own=Own(np.ones(650))),), {"personal": True, "__module__": __name__}),
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


RANKS = np.full(650, np.nan, np.float32)
NUMBERS = {
    "proximal is -1; it must be a finite number, not negative": {"proximal": -1},
    "penalty is nan; it must be": {"penalty": np.nan, "tensors": (0,)},
    "importance is inf; it must be": {"importance": np.inf},
    "threshold is '1'; it must be a finite number": {"threshold": "1"},
    "clip is -0.5; it must be": {"clip": np.float64(-0.5)},
    "power is 0; it must be a finite number above 0": {"power": 0, "tensors": (0,)},
    "power is 2.0; it must be 1 in a plan with scores": {
        "power": 2.0, "scores": np.ones(650, "f4")
    },
    "salient is 1.5; it must be a number from 0 to 1": {"salient": 1.5},
    "probes is 0; it must be a whole number, at least 1": {"probes": 0},
    "steps is 1.5; it must be None or a whole number, not negative": {"steps": 1.5},
    "steps is -1; it must be": {"steps": -1},
    "tensors is (2,); it must be different whole numbers from 0 to 1": {"tensors": (2,)},
    "tensors is (-1,); it must be": {"tensors": (-1,)},
    "tensors is (0, 0); it must be different": {"tensors": (0, 0)},
    "readjust is ((0, 0.5),); it must be pairs": {"readjust": ((0, 0.5),)},
    "readjust is ((1, 2.0),); it must be pairs": {"readjust": ((1, 2.0),)},
    "readjust is ((1, 0.1), (1, 0.2)); it must be": {"readjust": ((1, 0.1), (1, 0.2))},
    "portions is (0.1,); it must be two numbers from 0 to 1": {"portions": (0.1,)},
    "statistics is 'moved'; it must be a tuple of names": {"statistics": "moved"},
    'it must be a tuple with "gradient", which "curvature" needs': {"statistics": ("curvature",)},
    "labels is bool[3]; it must be bool[10]": {"labels": np.ones(3, bool)},
    "labels is float64[10]; it must be bool[10]": {"labels": np.ones(10)},
    "gates is [2.0]; it must be numbers from 0 to 1": {"gates": np.array([2.0])},
    "start is float64[650]; it must be float32[650]": {"start": np.ones(650)},
    "mask is 2; it must be uint8 of 0 and 1 only": {"mask": np.full(650, 2, np.uint8)},
    "it must be finite numbers only": {"grow": RANKS},
    "it must be -1, 0 and 1 only": {"signs": RANKS},
    "more_down['a'] is None; it must be a fedmpi.Support": {"more_down": {"a": None}},
    "backward: lowest is -1; it must be a whole number from 0 to 0":
        {"backward": Backward(lowest=-1)},
    "backward: rows of fc1 is bool[3]; it must be None or bool[10]":
        {"backward": Backward(rows=(np.ones(3, bool),))},
    "backward: update is uint8[3]; it must be uint8[650]":
        {"backward": Backward(update=np.ones(3, np.uint8))},
    "submodel: divisor is 0; it must be a finite number above 0":
        {"submodel": Submodel(divisor=0)},
    "submodel: shared is -5; it must be a whole number from 0 to 650":
        {"submodel": Submodel(shared=-5)},
    "it must be bytes for each layer, 0 or 1 for each of 10 rows":
        {"submodel": Submodel(rows=(b"\2" * 10,))},
    "private is an array of shape [1]; it must be float32[0]":
        {"private": np.ones(1, np.float32), "submodel": Submodel(rows=(b"\1" * 10,))},
}


@pytest.mark.parametrize("message", NUMBERS)
def test_a_number_of_a_plan_that_is_out_of_range_is_refused(message, tmp_path, monkeypatch):
    mine = method(plan=plan_with(**NUMBERS[message]))
    monkeypatch.setitem(globals(), "Mine", mine)
    with pytest.raises(FedmpiError) as caught:
        fedmpi.run(TREE | {"algorithm": {"name": mine}}, out=tmp_path / "a.h5")
    assert "plan: " in str(caught.value) and message in str(caught.value)


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


def with_more(**attributes):
    """Return a stage with other attributes."""
    return type("Step", (fedmpi.Stage,), {"__module__": __name__} | attributes)


STAGES = {
    "client returned a dict of 'weights'; it must return the pair": says(lambda p, m: p),
    "values of 'weights' is float32[2]; it must be float32[650]": says(lambda p, m: (
        {"weights": p["weights"]._replace(values=np.zeros(2, np.float32))}, m)),
    "more_down is -1; it must be a whole number, not negative": with_more(more_down=-1),
    "noise is 3; it must be a fedmpi.privacy.Noise": with_more(noise=3),
    "norm_after is nan; it must be a number, not negative": with_more(norm_after=lambda *_: np.nan),
    "memory: 'a' is an int; it must be a numpy array": says(lambda p, m: (p, {"a": 3})),
}


@pytest.mark.parametrize("message", STAGES)
def test_what_a_stage_returns_wrong(message, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "Step", STAGES[message])
    with pytest.raises(FedmpiError, match="Step") as caught:
        fedmpi.run(TREE | {"stage": [{"name": STAGES[message]}]}, out=tmp_path / "a.h5")
    assert message in str(caught.value)


@pytest.mark.parametrize(("numbers", "message"), [
    ((-1.0, 1.0, 1e-5), "multiplier is -1.0; it must be a finite number, not negative"),
    ((np.nan, 1.0, 1e-5), "multiplier is nan"),
    ((1.0, 0.0, 1e-5), "norm is 0.0; it must be a finite number above 0"),
    ((1.0, 1.0, 1.0), "delta is 1.0; it must be between 0 and 1"),
])
def test_noise_of_which_no_privacy_follows_is_refused(numbers, message):
    with pytest.raises(ConfigError, match=message):
        Noise(*numbers, local=False)


@pytest.mark.parametrize(("words", "message"), [
    ({"level": "rows"}, "level is 'rows'; it must be model, layer, tensor, row or coordinate"),
    ({"fill": "none"}, "fill is 'none'; it must be mean, zero or old"),
])
def test_a_sum_with_an_unknown_level_or_fill_is_refused(words, message):
    with pytest.raises(FedmpiError, match=message):
        fedmpi.Total(Layout((), ()), **words)


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
    """A method whose `message` takes any arguments."""

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
    with pytest.raises(ConfigError, match="model: Root has table, outside of the weight and"):
        fedmpi.run(tree | {"algorithm": {"name": "heterofl"}}, out=tmp_path / "a.h5")
    assert fedmpi.run(tree, out=tmp_path / "a.h5", overwrite=True).status == "finished"
