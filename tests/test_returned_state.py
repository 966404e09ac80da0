"""The state of a method and its class attributes: wrong values are refused by their place."""

import numpy as np
import pytest

import fedmpi
from fedmpi.errors import FedmpiError
from fedmpi.plan import Submodel
from tests import test_returned
from tests.test_returned import TREE, Right, method, plan_with

HERE = test_returned.__name__


def declared(**values):
    """Return a class with other attributes."""
    return type("Mine", (Right,), values | {"__module__": HERE})


def stepping(**more):
    """Return a class whose state has other entries after a step."""
    return method(step=lambda self, state, *_: {**state, **more})


def spoiled(self, state, *_):
    """Return a state in which the clients' mean has become no number."""
    weights = state["weights"].copy()
    weights[3:5] = np.nan
    return {**state, "weights": weights}


METHODS = {
    "step: 'names' is <U1[2]; it must be an array of whole numbers, floats of at most 64 bits or":
        stepping(names=np.array(["a", "b"])),
    "step: 'any' is object[1]; it must be": stepping(any=np.array([None])),
    "step: 'sum' is complex128[2]; it must be": stepping(sum=np.ones(2, complex)),
    "step: the name 3 is an int; it must be a text":
        method(step=lambda self, state, *_: {**state, 3: np.ones(2)}),
    "remember: 'words' is <U1[1]; it must be": type("Mine", (method(
        remember={"words": np.array(["a"])}),), {"remembers": True, "__module__": HERE}),
    "step: 'weights', 2 of 650, the first at 3, is nan; it must be finite numbers only":
        method(step=spoiled),
    "summed is 'extra'; it must be a tuple of different names": declared(summed="extra"),
    "summed is (3,); it must be": declared(summed=(3,)),
    "summed is ('weights',); it must be": declared(summed=("weights",)),
    "summed is ('a', 'a'); it must be": declared(summed=("a", "a")),
    "base is 'wieghts'; it must be None, or the name of an entry of the state: 'weights'":
        declared(base="wieghts"),
    "base is 7; it must be": declared(base=7),
    "base: entry 'old' is float32[2]; it must be float32[650]": type("Mine", (method(
        start=lambda self, weights: {"weights": weights, "old": weights[:2]}),),
        {"base": "old", "__module__": HERE}),
    "remembers is 'no'; it must be True or False": declared(remembers="no"),
    "level is 'channel'; it must be model, layer, tensor, row or coordinate":
        declared(level="channel"),
    "fill is 'keep'; it must be mean, zero or old": declared(fill="keep"),
    "zero returned a dict of nothing; it must return a dict of fedmpi.Total with 'weights'":
        method(zero=lambda self: {}),
    "plan: submodel: options is ('hidden',); it must be a tuple of pairs of a key and its value":
        method(plan=plan_with(submodel=Submodel(options=("hidden",)))),
    "plan: submodel: options is (('hidden', [3]),); it must be":
        method(plan=plan_with(submodel=Submodel(options=(("hidden", [3]),)))),
}


@pytest.mark.parametrize("message", METHODS)
def test_a_state_that_cannot_be_kept_is_named(message, tmp_path, monkeypatch):
    monkeypatch.setattr(test_returned, "Mine", METHODS[message], raising=False)
    with pytest.raises(FedmpiError) as caught:
        fedmpi.run(TREE | {"algorithm": {"name": METHODS[message]}}, out=tmp_path / "a.h5")
    assert str(caught.value).startswith(f"{HERE}.Mine.") and message in str(caught.value)


@pytest.mark.parametrize(("kept", "message"), [
    ({"names": np.array(["a"])}, "arrays: 'names' is <U1[1]; it must be an array of whole numbers"),
    ([1], "arrays returned a list; it must return a dict of numpy arrays"),
])
def test_what_a_rule_of_selection_cannot_keep_is_named(kept, message, tmp_path, monkeypatch):
    rule = type("Rule", (fedmpi.Selector,), {
        "__module__": HERE, "arrays": lambda self: kept,
        "select": lambda self, *_, **__: np.arange(2)})
    monkeypatch.setattr(test_returned, "Rule", rule, raising=False)
    tree = TREE | {"clients": TREE["clients"] | {"selection": rule}}
    with pytest.raises(FedmpiError) as caught:
        fedmpi.run(tree, out=tmp_path / "a.h5")
    assert f"{HERE}.Rule.{message}" in str(caught.value)


def sending(**defined):
    """Return a class whose clients send a part beside the weights."""
    def message(self, job, report):
        part = fedmpi.Part(report.weights, job.plan.up)
        return {"weights": part, "extra": part}

    return type("Mine", (Right,), {"message": message, "__module__": HERE} | defined)


def test_a_part_that_nobody_adds_up_is_refused(tmp_path, monkeypatch):
    def run(cls):
        monkeypatch.setattr(test_returned, "Mine", cls, raising=False)
        tree = TREE | {"algorithm": {"name": cls}}
        return fedmpi.run(tree, out=tmp_path / "a.h5", overwrite=True).status

    with pytest.raises(FedmpiError, match=r"Mine.message returned the part 'extra', which is "
                       r"not added up; let the class say `summed = \('extra',\)`, or define add"):
        run(sending())
    for defined in ({"summed": ("extra",)},
                    {"add": lambda self, sums, arrival: Right.add(self, sums, arrival)}):
        assert run(sending(**defined)) == "finished"


def test_an_error_of_no_name_is_refused_with_those_that_there_are(tmp_path, monkeypatch):
    mine = method(plan=plan_with(error="quadratic"))
    monkeypatch.setattr(test_returned, "Mine", mine, raising=False)
    with pytest.raises(FedmpiError, match=r"'error.quadratic'.*; give cross-entropy, softmax-quad"):
        fedmpi.run(TREE | {"algorithm": {"name": mine}}, out=tmp_path / "a.h5")
