"""The reference of the configuration: complete, and equal to the sections it is made from."""

import json

import pytest

from fedmpi import reference
from fedmpi.algorithm import Algorithm, Keys
from fedmpi.config import Config, StageSection
from fedmpi.errors import ConfigError
from fedmpi.experiment.resolve import of_tree
from tests.conftest import ROOT


def test_every_key_has_a_meaning_and_every_meaning_a_key():
    sections = {name: type(getattr(Config(), name)) for name in Config.model_fields}
    sections["stage"] = StageSection
    keys = {f"{name}.{key}" for name, section in sections.items() for key in section.model_fields}
    assert set(reference.meanings()) == keys
    assert all(row[3] for row in reference.keys_of())


def test_types_limits_and_defaults_come_from_the_sections():
    rows = {key: (kind, default) for key, kind, default, _ in reference.keys_of("optimizer")}
    assert rows["optimizer.lr"] == ("number > 0", "0.1")
    assert rows["optimizer.name"] == ("'sgd' | 'adam'", "'sgd'")
    assert rows["optimizer.momentum"] == ("number >= 0, < 1", "0.0")
    limits = [reference.keys_of(name)[at][1] for name, at in (("run", 1), ("network", 0))]
    assert limits == ["whole number >= 0, < 2^63", "number >= 1e-6, <= 1e15"]
    with pytest.raises(ConfigError, match="did you mean optimizer"):
        reference.keys_of("optimiser")


def test_a_method_is_shown_with_its_paper_and_the_comments_of_its_keys():
    text, rows = reference.algorithm("fedskel")
    assert "CIKM 2021" in text
    assert ("algorithm.updates_per_set", "whole number >= 0", "3",
            "UpdateSkel rounds after each SetSkel round") in rows


def test_a_data_set_is_shown_with_its_keys(main, capsys):
    text, rows = reference.function("datasets", "hugging-face")
    assert text.startswith("a folder that Hugging Face's datasets saved") and "columns" in text
    assert ("data.folder", "text", "-", "") in rows
    assert ("data.label", "text", "'label'", "") in rows
    assert reference.function("partitions", "dirichlet")[1][0][:3] == (
        "data.alpha", "number > 0, <= 1e9", "0.5")
    assert reference.function("models", "softmax")[1] == []
    assert main(["list", "models", "mlp"]) == 0 and "model.hidden" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="unknown data set; did you mean mnist"):
        reference.function("datasets", "mnits")


def test_the_schema_names_what_a_configuration_refuses():
    tree = json.loads(json.dumps(reference.json_schema()))
    clients = tree["$defs"]["ClientsSection"]
    assert clients["additionalProperties"] is True  # the keys of its selection
    assert tree["$defs"]["OptimizerSection"]["additionalProperties"] is False
    assert clients["properties"]["batch_size"]["anyOf"][0]["minimum"] == 1
    assert clients["properties"]["batch_size"]["description"].startswith("samples in a batch")
    assert tree["$defs"]["DataSection"]["additionalProperties"] is True


REFUSED = {
    "clients.number=5000": "clients.number = 5000",
    "model.name=fedlp-cnn": "fedlp-cnn",
}


@pytest.mark.parametrize("word", REFUSED)
def test_check_refuses_what_run_would_refuse(main, tmp_path, capsys, word):
    (tmp_path / "exp.toml").write_text('[data]\npartition = "dirichlet"\n')
    assert main(["check", str(tmp_path / "exp.toml"), "--set", word]) == 2
    shown = capsys.readouterr()
    assert REFUSED[word] in shown.err and not shown.out


@pytest.mark.parametrize(("method", "meanings"), [
    ("dpf", {"start": "sparsity of the first mask", "every": "rounds between masks"}),
    ("adp-v2", {"inside": "the inner algorithm", "variant": "the abstract, or the code"}),
    ("heterofl-complete", {"widths": "drawn with equal chances"}),
])
def test_a_meaning_is_that_of_the_key_in_its_line(method, meanings):
    found = {key.partition(".")[2]: meaning for key, *_, meaning in reference.algorithm(method)[1]}
    assert found | meanings == found


@pytest.mark.parametrize("method", reference.built_in())
def test_every_key_of_a_method_has_a_meaning(method):
    assert not [key for key, *_, meaning in reference.algorithm(method)[1] if not meaning]


def test_a_method_without_a_file_has_keys_without_meanings():
    scope = {}
    exec("""
import fedmpi
class Mine(fedmpi.Algorithm, name="test-without-a-file"):
    class Keys(fedmpi.Keys):
        p: float = 0.5  # a share
""", scope)  # fmt: skip
    assert reference.algorithm("test-without-a-file")[1] == [("algorithm.p", "number", "0.5", "")]


def test_the_page_of_the_methods_ends_with_all_of_them():
    page = (ROOT / "docs/methods.md").read_text()
    assert page.endswith(reference.list_of_methods()), (
        "replace the end of docs/methods.md by the output of "
        "python -c 'from fedmpi import reference; print(reference.list_of_methods(), end=\"\")'")


def test_values_are_quoted_as_messages_quote_them():
    with pytest.raises(ConfigError) as caught:
        of_tree({"run": {"engine": "other"}})
    kind = next(row[1] for row in reference.keys_of("run") if row[0] == "run.engine")
    assert "'batched'" in str(caught.value) and "'batched'" in kind
    assert '"' not in reference.manual() + reference.list_of_methods()


def test_the_page_of_the_manual_is_the_reference():
    page = (ROOT / "docs/keys.md").read_text()
    assert page == reference.manual(), (
        "python -c 'from fedmpi import reference; print(reference.manual(), end=\"\")' "
        "> docs/keys.md")


class Known(Keys):
    """The keys of a method of the user's."""

    rate: float = 0.5  # how fast it grows


class Own(Algorithm):
    """A method of the user's."""

    Keys = Known

    def plan(self, state, round, client):
        """Not called here: the method is described, not run."""


def test_own_code_is_described_as_a_method_is():
    text, rows = reference.algorithm(f"{__name__}:Own")
    assert text == "A method of the user's."
    assert rows == [("algorithm.rate", "number", "0.5", "how fast it grows")]
    with pytest.raises(ConfigError, match=r"has no Owm; did you mean Own\?"):
        reference.algorithm(f"{__name__}:Owm")
