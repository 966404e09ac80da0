"""Runs that are repeats, the names of runs, and configurations that can be run again."""

import tomllib

import pytest

from fedmpi.analysis.configs import alike, as_toml, differences, names, stem
from fedmpi.record import reader
from tests.record import sample


def make(path, **sections):
    """Return the Run of an empty file with this configuration."""
    fixed = sample.fixed() | {"resolved": sections}
    sample.Writer.create(path, **fixed)
    return reader.open(path)


@pytest.fixture
def runs(tmp_path):
    """Return four runs: two seeds of one configuration, and two others."""
    return [
        make(tmp_path / "a-s1.h5", run={"name": "A", "seed": 1}, algorithm={"p": 0.5}),
        make(tmp_path / "a-s2.h5", run={"name": "A", "seed": 2}, algorithm={"p": 0.5}),
        make(tmp_path / "b.h5", run={"name": "B", "seed": 1}, algorithm={"p": 0.1}),
        make(tmp_path / "c.h5", run={"name": "B", "seed": 1}, algorithm={"q": None}),
    ]


def test_seeds_and_names_are_no_other_configuration(runs):
    a, b, c, d = runs
    assert alike([b, c, a, d]) == [[b, a], [c], [d]]


def test_names_are_the_runs_own_where_they_tell_them_apart(runs):
    a, b, c, d = runs
    assert names([[a, b], [c], [d]]) == ["A", "b", "c"]
    assert names([[a, b], [c]]) == ["A", "B"]
    assert names([[a], [b]]) == ["a-s1", "a-s2"]
    assert names([[a], [a]]) == ["a-s1 (1)", "a-s1 (2)"]


@pytest.mark.parametrize(
    ("shorts", "name"),
    [(["fedlp-s1", "fedlp-s2"], "fedlp"), (["x_seed=1", "x_seed=12"], "x"), (["a", "b"], ""),
     (["lr-0.1-s10", "lr-0.1-s11"], "lr-0.1"), (["lr-0.1_0", "lr-0.1_1"], "lr-0.1"),
     (["classes1", "classes2"], "classes"), (["one"], "one")],
)
def test_what_file_names_have_in_common(shorts, name):
    assert stem(shorts) == name


def test_differences(runs):
    assert differences([runs[0], runs[2]]) == {
        "run.name": ["A", "B"], "algorithm.p": [0.5, 0.1],
    }
    assert differences(runs[:1]) == {}
    assert differences([runs[2], runs[3]]) == {"algorithm.p": [0.1, None]}


def test_toml_reads_back():
    tree = {"run": {"name": 'a "b" \\ \n \x7f ü', "on": True, "none": None, "x": 0.1},
            "devices": {"tiers": [{"name": "slow", "a b": 0.5, "none": None}]},
            "clients": {"number": 3, "cohort": 2}}
    assert tomllib.loads(as_toml(tree)) == {
        "run": {"name": 'a "b" \\ \n \x7f ü', "on": True, "x": 0.1},
        "devices": {"tiers": [{"name": "slow", "a b": 0.5}]}, "clients": {"number": 3},
    }
    assert "# cohort = 2" in as_toml(tree)


@pytest.mark.parametrize(("epochs", "steps", "shown"), [
    (None, None, "# local_epochs = 1\n"), (2, None, "local_epochs = 2\n"),
    (None, 5, "local_steps = 5\n")])
def test_toml_says_how_long_clients_train(epochs, steps, shown):
    tree = {"clients": {"local_epochs": epochs, "local_steps": steps}}
    assert as_toml(tree) == f"[clients]\n{shown}"


def test_what_check_prints_can_be_run(run_fedmpi, tmp_path):
    (tmp_path / "exp.toml").write_text('[devices]\nprofile = "tiers"\n[clients]\nfraction = 0.5\n')
    first = run_fedmpi("check", "exp.toml")
    (tmp_path / "again.toml").write_text(first.stdout)
    second = run_fedmpi("check", "again.toml")
    assert (first.returncode, second.returncode, second.stderr) == (0, 0, "")
    assert second.stdout == first.stdout
