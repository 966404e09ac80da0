"""Misspelt methods of a user's class, and methods of another kind, are refused by their names."""

import pytest

import fedmpi
from fedmpi import hooks
from fedmpi.algorithms import ALGORITHMS
from fedmpi.errors import ConfigError
from fedmpi.experiment.resolve import of_tree
from fedmpi.learn.metrics import METRICS
from fedmpi.selectors import SELECTORS
from fedmpi.stages import STAGES


class Right(fedmpi.Algorithm):
    """A method without a fault."""

    def plan(self, state, round, client):
        everything = fedmpi.Support.all(self.layout)
        return fedmpi.Plan(down=everything, up=everything)


def nothing(self, *words):
    """Stand for a method that takes anything."""


def of(base, **defined):
    """Return a class of the user's that defines this on top of `base`."""
    return type("Mine", (base,), defined | {"__module__": __name__})


@pytest.mark.parametrize(
    ("base", "name", "meant"),
    [
        (Right, "mesage", "message"), (Right, "remeber", "remember"), (Right, "strat", "start"),
        (Right, "stpe", "step"), (Right, "Add", "add"), (Right, "densty", "density"),
        (fedmpi.Stage, "cleint", "client"), (fedmpi.Stage, "un_seal", "unseal"),
        (fedmpi.Selector, "lern", "learn"), (fedmpi.Metric, "values", "value"),
        (ALGORITHMS["fedlp-hetero"], "level_off", "level_of"),
    ],
)
def test_a_misspelt_method_is_refused_with_the_name_that_was_meant(base, name, meant):
    said = hooks.misfit(of(base, **{name: nothing}))
    assert said.startswith(f"Mine.{name} is unknown to fedmpi; did you mean {meant}?")
    assert hooks.misfit(of(base, **{f"_{name}": nothing})) == ""


def test_it_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setattr(f"{__name__}.Mine", of(Right, mesage=nothing), raising=False)
    with pytest.raises(ConfigError, match=r"Mine'.*Mine.mesage .* did you mean message\?"):
        of_tree({"algorithm": {"name": f"{__name__}:Mine"}})


@pytest.mark.parametrize(
    "defined",
    [
        {"personel": True}, {"levl": "layer"}, {"sumed": ("a",)},
        {"keys": type("keys", (fedmpi.Keys,), {})},
    ],
)
def test_a_misspelt_attribute_is_refused_as_well(defined):
    assert "is unknown to fedmpi; did you mean" in hooks.misfit(of(Right, **defined))


@pytest.mark.parametrize("name", ["mask", "message_of", "on_step", "server_momentum", "rounds"])
def test_other_names_are_the_authors_business(name):
    assert hooks.misfit(of(Right, **{name: nothing})) == ""


def test_an_attribute_of_another_type_is_no_misspelt_attribute():
    assert hooks.misfit(of(Right, levels=3, steps=[1, 2])) == ""


@pytest.mark.parametrize(
    ("defined", "said"),
    [
        ({"step": lambda self, state, sums: 0},
         r"takes (self, state, sums); it must take (self, state, sums, round)"),
        ({"plan": lambda self, round, state, client: 0},
         "takes (self, round, state, client); it must take (self, state, round, client)"),
        ({"remember": True},
         "is True; it must be a method, (self, job: "),
        ({"synchronous": lambda self, keys: True},
         "is a method of objects; it must be a method of the class: write @classmethod above"),
        ({"sends_as_planned": classmethod(lambda cls, keys: True)},
         "is a method; it must be a value, or @property"),
        ({"synchronous": classmethod(lambda cls: True)},
         "takes (cls); it must take (cls, keys)"),
        ({"level": lambda self: "layer"}, "is a method; it must be a value, or @property"),
        ({"by_policy": lambda self: True}, "is a method; it must be @property"),
    ],
)  # fmt: skip
def test_a_method_of_another_kind_is_refused(defined, said):
    assert hooks.misfit(of(Right, **defined)).startswith(f"Mine.{next(iter(defined))} {said}")


@pytest.mark.parametrize("name", ["fedavg", "static-mask", "adp-v1", "sub-fedavg"])
def test_another_message_comes_with_a_word_on_its_bytes(name):
    base, message = ALGORITHMS[name], ALGORITHMS["fedavg"].message
    fault = hooks.misfit(of(base, message=message))
    if name == "sub-fedavg":  # its bytes do not follow from plans already
        assert fault == ""
        return
    assert fault.startswith("Mine.message changes what clients send: also write sends_as_planned")
    assert hooks.misfit(of(of(base, message=message), level="row")) == fault
    for planned in (False, True):
        assert hooks.misfit(of(base, message=message, sends_as_planned=planned)) == ""


def test_a_selector_that_learns_says_so():
    mine = {"select": Selects.select, "learn": lambda self, rows: None}
    fault = hooks.misfit(of(fedmpi.Selector, **mine))
    assert fault == "Mine.learn is called only if the class has learns = True: also write this"
    assert hooks.misfit(of(fedmpi.Selector, learns=True, **mine)) == ""
    assert hooks.misfit(of(SELECTORS["oort"], learn=mine["learn"])) == ""


def test_a_metric_is_made_without_arguments():
    found = hooks.misfit(of(fedmpi.Metric, __init__=lambda self, bins: None))
    assert found == "Mine.__init__ takes (self, bins); it must take (self)"
    assert hooks.misfit(of(fedmpi.Metric, __init__=lambda self, bins=15: None)) == ""


@pytest.mark.parametrize(
    "defined",
    [
        {"plan": lambda self, state, round, client, more=0: 0}, {"plan": nothing},
        {"plan": lambda self, s, r, c: 0}, {"plan": staticmethod(lambda state, round, client: 0)},
        {"gates": staticmethod(lambda keys: None)}, {"level": property(lambda self: "layer")},
        {"level": "layer", "personal": True, "__init__": lambda self, keys, setting: None},
    ],
)
def test_what_fits_is_taken(defined):
    assert hooks.misfit(of(Right, **defined)) == ""


@pytest.mark.parametrize("registry", [ALGORITHMS, STAGES, SELECTORS, METRICS],
                         ids=lambda registry: registry.kind)
def test_fedmpis_own_classes_would_pass_as_users_classes(registry, monkeypatch):
    bases = (fedmpi.Algorithm, fedmpi.Stage, fedmpi.Selector, fedmpi.Metric)
    monkeypatch.setattr(hooks, "_ours", bases.__contains__)
    assert not [fault for cls in registry.values() if (fault := hooks.misfit(cls))]


class Selects(fedmpi.Selector):
    """A rule of selection that makes itself."""

    def __init__(self, keys, seed, clients):
        pass

    def select(self, round, world, number, in_turn):
        """Select no client."""
        return []


def early(self, keys, setting):
    """Use the layout before fedmpi has set it."""
    self.zeros = [0] * self.layout.size


@pytest.mark.parametrize(
    ("cls", "given", "said"),
    [
        (of(Right, __init__=nothing), (0, 0), "Mine.__init__: there is no self.keys yet; let its "
         "first line be super().__init__(keys, setting)"),
        (of(Right, __init__=early), (0, 0), "Mine.__init__: there is no self.layout yet; let its "
         "first line be super().__init__(keys, setting)"),
        (of(fedmpi.Stage, __init__=nothing), (0, 0), "be super().__init__(keys, setting)"),
        (Selects, (0, 0, 0), "there is no self.keys yet; let its first line be super().__init__("
         "keys, seed, clients)"),
    ],
)  # fmt: skip
def test_a_first_method_that_leaves_out_that_of_fedmpi_is_refused(cls, given, said):
    with pytest.raises(ConfigError) as caught:
        hooks.made(cls, *given)
    assert str(caught.value).startswith(f"{__name__}.") and str(caught.value).endswith(said)


def test_other_errors_of_a_first_method_are_its_own():
    with pytest.raises(AttributeError, match="'Mine' object has no attribute 'other'"):
        hooks.made(of(Right, __init__=lambda self, keys, setting: self.other), 0, 0)
