"""One registry for all names of a configuration, and the rules for adding to it."""

import sys
from types import ModuleType

import pytest

import fedmpi
from fedmpi.algorithms import ALGORITHMS
from fedmpi.errors import ConfigError
from fedmpi.experiment.earlier import Earlier
from fedmpi.experiment.resolve import of_tree
from fedmpi.learn.data import DATASETS
from fedmpi.learn.losses import LOSSES
from fedmpi.learn.models import MODELS
from fedmpi.learn.partitions import PARTITIONS, split
from fedmpi.registry import NoKeys, Registry
from fedmpi.rng import rng_for
from fedmpi.selectors import SELECTORS
from fedmpi.stages import STAGES


def define(module, source):
    """Run `source` as the code of a module, as a script or a cell of a notebook is run."""
    exec(source, {"__name__": module, "fedmpi": fedmpi})


RULES = Registry("rule", "rule.name", "a rule")


def test_a_module_of_a_folder_is_imported_when_its_name_is_first_asked_for(monkeypatch, tmp_path):
    names = {"two_words": "two-words", "other": "of-another-name", "without": None}
    for file, name in names.items():
        code = f"from {__name__} import RULES\nclass Rule: ...\nRULES.admit(Rule, {name!r})\n"
        (tmp_path / f"{file}.py").write_text(code)
    package = ModuleType("rules_of_test")
    package.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, package.__name__, package)
    for file in names:  # to be forgotten at the end
        monkeypatch.setitem(sys.modules, f"rules_of_test.{file}", None)
        del sys.modules[f"rules_of_test.{file}"]

    def loaded():
        return {file for file in names if f"rules_of_test.{file}" in sys.modules}

    RULES.fill_from(package.__name__, package.__path__)
    assert not loaded()
    assert RULES["two-words"].__module__ == "rules_of_test.two_words" and loaded() == {"two_words"}
    assert RULES.find("of-another-name").name == "of-another-name" and loaded() == set(names)
    assert list(RULES) == ["of-another-name", "two-words"] and "without" not in RULES
    with pytest.raises(ConfigError, match="'two-words' is taken by rules_of_test"):
        RULES.admit(type("Mine", (), {}), "two-words")


METHOD = """
class {cls}(fedmpi.Algorithm, name={name!r}):
    def plan(self, state, round, client):
        return
"""


def test_a_class_may_be_defined_again_in_its_module_only(monkeypatch):
    monkeypatch.setattr(ALGORITHMS, "_things", dict(ALGORITHMS))
    define("notebook", METHOD.format(cls="Mine", name="mine"))
    first = ALGORITHMS["mine"]
    define("notebook", METHOD.format(cls="Mine", name="mine"))
    assert ALGORITHMS["mine"] is not first and ALGORITHMS["mine"].name == "mine"
    with pytest.raises(ConfigError, match=r"'mine' is taken by notebook.Mine; choose another"):
        define("other", METHOD.format(cls="Mine", name="mine"))


@pytest.mark.parametrize("cls", ["FedAvg", "Other"])
def test_a_users_class_cannot_take_the_name_of_a_built_in_method(cls):
    built_in = ALGORITHMS["fedavg"]
    with pytest.raises(ConfigError, match=r"'fedavg' is taken by fedmpi.algorithms.fedavg.FedAvg"):
        define("__main__", METHOD.format(cls=cls, name="fedavg"))
    assert ALGORITHMS["fedavg"] is built_in


@pytest.mark.parametrize("registry", [ALGORITHMS, STAGES, SELECTORS, DATASETS, PARTITIONS],
                         ids=lambda registry: registry.kind)
@pytest.mark.parametrize("name", ["os:system", "subprocess:run", "builtins:exec", "json:dumps"])
def test_what_was_not_made_for_fedmpi_is_refused(registry, name):
    with pytest.raises(ConfigError, match="must be a"):
        registry.find(name)


@pytest.mark.parametrize("name", ["os", "os:", ":system", "os.path:join.x", "a b:c", "../x:y"])
def test_a_name_is_a_registered_one_or_of_the_one_form(name):
    with pytest.raises(ConfigError, match=r"unknown data set|of the form package.module:object"):
        DATASETS.find(name)


@fedmpi.partition
def in_turn(labels, groups, clients, rng, skip=0):
    """Clients take turns; no client gets the first `skip` samples."""
    owner = [i % clients for i in range(len(labels))]
    return [-1] * skip + owner[skip:]


@fedmpi.partition(keys=NoKeys)
def beyond(labels, groups, clients, rng):
    """A client too many."""
    return [clients for _ in labels]


def test_a_partition_of_the_users_own():
    rng = rng_for(0, "partition")
    found = split(f"{__name__}:in_turn", [0] * 7, None, 3, {"skip": 1}, rng)
    assert [found.of(client).tolist() for client in range(3)] == [[3, 6], [1, 4], [2, 5]]
    with pytest.raises(ConfigError, match="sample 0 went to client 3; clients are 0 to 2"):
        split(f"{__name__}:beyond", [0] * 7, None, 3, {}, rng)
    with pytest.raises(ConfigError, match="skip: unknown key"):
        split(f"{__name__}:beyond", [0] * 7, None, 3, {"skip": 1}, rng)
    tree = {"data": {"name": "synthetic", "partition": f"{__name__}:in_turn", "a": 2, "skip": 1}}
    resolved = of_tree(tree)
    assert resolved.data_keys["a"] == 2 and resolved.partition_keys == {"skip": 1}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("    class Keys:\n        p: float = 0.5",
         r"Mine.Keys must be .* class Keys\(fedmpi.Keys\)"),
        ("    class Keys(fedmpi.Keys):\n        p = 0.5",
         r"a key lacks its type: p = 0.5; write it as in p: float = 0.5 \(keyed.py:\d\)"),
        ("    def own(self, state, client):\n        return None",
         "keyed.Mine defines own, but the class does not say `personal = True`"),
    ],
)  # fmt: skip
def test_what_a_class_says_of_itself_is_checked(lines, message, tmp_path, monkeypatch):
    plan = "    def plan(self, state, round, client):\n        return None\n"
    (tmp_path / "keyed.py").write_text(
        f"import fedmpi\n\nclass Mine(fedmpi.Algorithm):\n{lines}\n{plan}"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keyed", raising=False)
    with pytest.raises(ConfigError, match=message):
        of_tree({"algorithm": {"name": "keyed:Mine"}})


@pytest.mark.parametrize("kind", [list, list[int], list[float] | None, tuple[list[int], ...], set])
def test_a_key_that_is_a_list_is_refused_since_keys_are_frozen(kind):
    """Its values, of the configuration or of a resumed run, would be tuples and never fit."""
    with pytest.raises(ConfigError, match=rf"{__name__}\..*Keys: sizes is declared as a list"):
        type("Keys", (fedmpi.Keys,), {
            "__annotations__": {"sizes": kind}, "sizes": None, "__module__": __name__})


def test_an_unknown_name_says_how_own_code_is_named():
    with pytest.raises(ConfigError, match=r"known: softmax.*; write own code as package.module:"):
        of_tree({"model": {"name": "SmallNet"}})


def test_a_script_that_exits_when_imported_says_so(monkeypatch, tmp_path):
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"SystemExit: 3 \(exits.py:2\)"):
        DATASETS.find("exits:load")
    assert not isinstance(sys.modules.get("exits"), ModuleType)


def test_a_result_file_imports_nothing_unless_it_is_allowed(monkeypatch, tmp_path):
    code = "import fedmpi\n@fedmpi.dataset\ndef load(root): ...\n"
    (tmp_path / "planted.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    values = of_tree({}).values()
    values["data"]["name"] = "planted:load"
    values["stage"] = [{"name": "planted:Stage"}]
    begun = Earlier("", values)
    with pytest.raises(ConfigError, match="add --allow-code") as caught:
        begun.resolved("out.h5")
    assert "data.name = 'planted:load', stage.0.name = 'planted:Stage'" in str(caught.value)
    assert "planted" not in sys.modules
    values["stage"] = []
    assert begun.resolved("out.h5", allow_code=True).config.data.name == "planted:load"
    assert sys.modules.pop("planted")


@pytest.mark.parametrize("key", ["optimizer.lr_decay", "run.rounds_", "data.root.x", "run.seed"])
def test_what_may_change_in_a_run_is_named_exactly(key):
    with pytest.raises(ConfigError, match="cannot change in a resumed run"):
        Earlier("", of_tree({}).values()).resolved("out.h5", [f"{key}=1"])


@pytest.mark.parametrize(
    ("decorate", "said"),
    [
        (lambda: fedmpi.partition(NoKeys), "@fedmpi.partition(NoKeys): write @fedmpi.partition("
         "keys=NoKeys)"),
        (lambda: fedmpi.model("mine"), "@fedmpi.model('mine'): write @fedmpi.model alone above a "
         "function (input_shape, classes, **keys), or a torch.nn.Module; a"),
        (lambda: fedmpi.dataset(name="mine"), "@fedmpi.dataset(name='mine'): write @fedmpi.dataset "
         "alone above a function (root, **keys); a"),
        (lambda: fedmpi.model(keys=dict), "@fedmpi.model(keys=<class 'dict'>): must be a subclass"),
        (lambda: fedmpi.loss("labels"), "@fedmpi.loss('labels'): write @fedmpi.loss("
         "target='labels')"),
        (lambda: fedmpi.loss(target="label"), "fedmpi.loss: target 'label': must be one of"),
        (lambda: fedmpi.loss("mine"), "@fedmpi.loss('mine'): write @fedmpi.loss alone above a"),
    ],
)  # fmt: skip
def test_a_decorator_with_other_things_in_its_brackets_says_what_to_write(decorate, said):
    with pytest.raises(ConfigError) as caught:
        decorate()
    assert str(caught.value).startswith(said)


def test_a_decorator_may_have_empty_brackets():
    marked = fedmpi.model()(lambda input_shape, classes: None)
    assert marked.__fedmpi__[0] == "model"


def test_a_name_of_a_class_is_a_text():
    with pytest.raises(ConfigError, match=r"class .*Mine: name=3 must be a text"):
        define("notebook", METHOD.format(cls="Mine", name=3))


@pytest.mark.parametrize(
    ("word", "base"), [("method", "Algorithm"), ("selection", "Selector"), ("Rule", "")]
)
def test_what_is_no_decorator_names_the_class_that_is_meant(word, base):
    with pytest.raises(AttributeError) as caught:
        getattr(fedmpi, word)
    end = f"; write a class Mine(fedmpi.{base})" if base else ""
    assert str(caught.value) == f"module 'fedmpi' has no attribute {word!r}{end}"


@fedmpi.dataset
def noisy(root, noise=0.1, *, sort):
    """A data set whose keys are its parameters."""


@fedmpi.model
def wide(input_shape, classes, width=8):
    """A model whose keys are its parameters."""


@fedmpi.model
def open_to_all(input_shape, classes, **keys):
    """A model that looks at its keys itself."""


def keys_of(**data):
    names = {"name": f"{__name__}:noisy", "partition": f"{__name__}:in_turn"}
    found = of_tree({"data": names | data})
    return found.data_keys, found.partition_keys


def test_the_parameters_of_a_users_function_are_its_keys():
    assert keys_of(sort=1, skip=2) == ({"sort": 1}, {"skip": 2})
    with pytest.raises(ConfigError, match=r"data.nois: unknown key; did you mean noise\?"):
        keys_of(sort=1, nois=2)
    with pytest.raises(ConfigError, match=r"data.sort: missing; give it a value, or a default"):
        keys_of(noise=0.2)
    with pytest.raises(ConfigError, match=r"model.widht: unknown key; did you mean width\?"):
        of_tree({"model": {"name": f"{__name__}:wide", "widht": 2}})
    of_tree({"model": {"name": f"{__name__}:open_to_all", "widht": 2}})


@pytest.mark.parametrize(
    ("decorator", "function", "said"),
    [
        (fedmpi.dataset, lambda: 0, "takes (); it must take (root)"),
        (fedmpi.partition, lambda labels, rng: 0, "takes (labels, rng); it must take (labels, "
         "groups, clients, rng)"),
        (fedmpi.model, lambda shape: 0, "takes (shape); it must take (input_shape, classes)"),
        (fedmpi.loss, lambda outputs: 0, "takes (outputs); it must take (outputs, targets)"),
    ],
)  # fmt: skip
def test_a_function_that_takes_too_little_is_refused_by_its_name(
    decorator, function, said, monkeypatch
):
    monkeypatch.setattr(f"{__name__}.short", decorator(function), raising=False)
    function.__module__ = __name__
    registry = next(one for one in (DATASETS, PARTITIONS, MODELS, LOSSES)
                    if one.kind == function.__fedmpi__[0])
    with pytest.raises(ConfigError) as caught:
        registry.find(f"{__name__}:short")
    assert str(caught.value).endswith(f"{__name__}:short': {said}")


@fedmpi.partition
def as_lists(labels, groups, clients, rng):
    """The samples of each client, as other programs want them."""
    return [[0, 1, 2, 3], [4, 5, 6]]


def test_a_partition_as_lists_of_samples_is_refused_in_words():
    with pytest.raises(ConfigError, match=r"returned a list of .*; return the client of each samp"):
        split(f"{__name__}:as_lists", [0] * 7, None, 2, {}, rng_for(0, "partition"))
