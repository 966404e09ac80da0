"""fedmpi from Python: the same as the command, again and again in one process, and silent."""

import ast
import inspect
import json
import os
import re
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

import fedmpi
from fedmpi import api
from fedmpi.errors import ConfigError, FedmpiError, RejectedError, ResultError
from fedmpi.experiment.stop import ASKING
from fedmpi.learn.data import DATASETS
from fedmpi.learn.models import MODELS
from fedmpi.learn.partitions import PARTITIONS
from tests.record import sample

TREE = {
    "run": {"rounds": np.int64(2), "seed": 3},
    "data": {"root": Path("nowhere")},  # digits need no folder
    "clients": {"number": 6, "per_round": 3},
    "model": {"name": "mlp", "hidden": (8,)},
}
TOML = """
run = {rounds = 2, seed = 3}
clients = {number = 6, per_round = 3}
model = {name = "mlp", hidden = [8]}
"""


def test_twice_in_one_process_is_the_same_as_the_command_and_silent(tmp_path, capfd, run_fedmpi):
    import signal

    handlers = [signal.getsignal(number) for number in ASKING]
    first = fedmpi.run(TREE, out=tmp_path / "1.h5")
    threads = threading.active_count()
    with pytest.raises(RejectedError, match=r"lower optimizer\.lr"):
        fedmpi.run(TREE | {"optimizer": {"lr": 1e30}}, out=tmp_path / "2.h5")
    (tmp_path / "exp.toml").write_text(TOML)
    second = fedmpi.run(tmp_path / "exp.toml", out=tmp_path / "2.h5", overwrite=True)
    assert capfd.readouterr() == ("", "")
    assert threading.active_count() == threads
    assert [signal.getsignal(number) for number in ASKING] == handlers
    assert run_fedmpi("run", "exp.toml", "-o", "3.h5").returncode == 0
    third = fedmpi.open(tmp_path / "3.h5")
    assert first.weights_sha256 == second.weights_sha256 == third.weights_sha256
    assert TREE["run"] == {"rounds": 2, "seed": 3}


WRONG = {
    "config = 5: give the path of a TOML file, or a dict": (5, "a.h5"),
    "config = None": (None, "a.h5"),
    "out = None": (TREE, None),
    "no.toml: No such file": ("no.toml", "a.h5"),
    "configuration: 5: unknown key": ({5: 3}, "a.h5"),
    "configuration: run = 3: must be a section": ({"run": 3}, "a.h5"),
    "has no plan; define it": (TREE | {"algorithm": {"name": "test-without-plan"}}, "a.h5"),
}


class WithoutPlan(fedmpi.Algorithm, name="test-without-plan"):
    """A user's first attempt."""


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_call_says_what_is_wanted(message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, out = WRONG[message]
    with pytest.raises(ConfigError) as caught:
        fedmpi.run(config, out=out)
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_progress_must_be_a_function(tmp_path):
    with pytest.raises(ConfigError, match="progress = True: give a function of a round's columns"):
        fedmpi.run(TREE, out=tmp_path / "a.h5", progress=True)
    assert not list(tmp_path.iterdir())


def test_an_error_of_own_code_is_raised_as_it_is_and_the_next_run_works(tmp_path):
    class Breaks(fedmpi.Algorithm, name="test-breaks"):
        def plan(self, state, round, client):
            raise LookupError("of mine")

    with pytest.raises(LookupError, match="of mine"):
        fedmpi.run(TREE | {"algorithm": {"name": "test-breaks"}}, out=tmp_path / "a.h5")
    assert fedmpi.run(TREE, out=tmp_path / "a.h5", overwrite=True).status == "finished"


def test_what_is_no_result_is_refused(tmp_path):
    with pytest.raises(ResultError, match="no such file"):
        fedmpi.open(tmp_path / "a.h5")
    with pytest.raises(ResultError, match="5: not a path"):
        fedmpi.open(5)
    fedmpi.run(TREE, out=tmp_path / "a.h5")
    with pytest.raises(FedmpiError, match="--overwrite"):
        fedmpi.run(TREE, out=tmp_path / "a.h5")


def test_paths_and_changes_are_checked_before_anything_is_read(tmp_path):
    for wrong in (None, 3):
        with pytest.raises(ResultError, match=f"out = {wrong}: give the path of the result file"):
            fedmpi.resume(wrong)
    for changes in ("run.rounds=50", {"run.rounds": 50}, ["run.rounds=50", 3]):
        with pytest.raises(ConfigError, match=r"changes = .*: give a list of texts"):
            fedmpi.resume(tmp_path / "a.h5", changes)
        with pytest.raises(ConfigError, match=r"changes = .*: give a list of texts"):
            fedmpi.check_method("fedavg", changes=changes)
    for wrong in (["a.h5", "b.h5"], None):
        with pytest.raises(ResultError, match=r"not a path; .* open_many\(\*paths\)"):
            fedmpi.open_many(wrong)


def test_an_object_in_the_place_of_its_class_is_refused_by_its_key(tmp_path):
    class Net:
        pass

    for tree, key in (({"model": {"name": Net()}}, "model.name"), ({"stage": [Net()]}, "stage")):
        with pytest.raises(ConfigError, match=rf"{key}: is an object of type Net; .* a function"):
            fedmpi.run(TREE | tree, tmp_path / "a.h5")


def test_the_interface_is_listed_before_it_is_loaded(run_python):
    names = {"open", "run", "Algorithm", "Keys", "Plan", "Support", "Total", "Dataset"}
    assert names <= set(dir(fedmpi))
    code = "import fedmpi, json, sys; dir(fedmpi); print(json.dumps(list(sys.modules)))"
    loaded = json.loads(run_python("-c", code).stdout)
    assert not {"torch", "numpy", "mpi4py"} & set(loaded)


def test_all_that_a_method_gives_back_is_in_the_interface():
    """A message that asks for a fedmpi.Own can be followed to the letter."""
    asked = {name for path in Path(fedmpi.__file__).parent.glob("*.py")
             for name in re.findall(r"\bfedmpi\.([A-Z]\w*)\b", path.read_text())}
    assert {"Own", "Backward", "Submodel", "Coding", "Plan", "Part"} <= asked
    assert all(inspect.isclass(getattr(fedmpi, name)) for name in asked)


def test_type_checkers_see_the_names_that_are_loaded_when_asked_for():
    """The list for type checkers and the one for Python are the same."""
    tree = ast.parse(Path(fedmpi.__file__).read_text())
    seen = {alias.asname: node.module for block in tree.body if isinstance(block, ast.If)
            for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == fedmpi._INTERFACE


def test_help_names_the_whole_interface():
    """help(fedmpi) lists no class, as they are loaded when asked for."""
    missing = [name for name in fedmpi._INTERFACE if not re.search(rf"\b{name}\b", fedmpi.__doc__)]
    assert not missing


@pytest.mark.parametrize("name", ["model", "dataset", "partition"])
def test_help_on_a_decorator_says_how_the_function_is_called(name):
    """It was the text of the method that all decorators shared, which names no argument."""
    decorator = getattr(fedmpi, name)
    registry = {"model": MODELS, "dataset": DATASETS, "partition": PARTITIONS}[name]
    called = f"function({', '.join(registry._arguments)}, **keys)"
    assert decorator.__name__ == name and called in decorator.__doc__


def test_the_folder_of_the_data_follows_key_then_variable_then_cache():
    assert api.data_root({"FEDMPI_DATA": "/a"}, "/b") == Path("/b")
    assert api.data_root({"FEDMPI_DATA": "/a"}) == Path("/a")
    assert api.data_root({"XDG_CACHE_HOME": "/c"}) == Path("/c/fedmpi/data")
    assert api.data_root({}, "~/d") == Path.home() / "d"


def test_who_has_no_home_has_a_cache_of_the_user_number(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # no entry in passwd
    home = Path(tempfile.gettempdir()) / f"fedmpi-{os.getuid()}"
    assert api.cache_folder({}) == home / ".cache/fedmpi"


def test_without_a_temporary_folder_the_cache_still_has_a_name(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nonexistent"])
    assert api.cache_folder({}) == Path(f"/tmp/fedmpi-{os.getuid()}/.cache/fedmpi")


def test_the_data_of_a_user_who_does_not_exist_are_refused():
    with pytest.raises(ConfigError, match=r"^~no-such-user/d: .*; give the whole path"):
        api.data_root({"FEDMPI_DATA": "~no-such-user/d"})


def test_the_state_of_a_method_and_the_memory_of_a_client_can_be_read(tmp_path):
    out = tmp_path / "a.h5"
    with pytest.raises(ResultError, match=r"a\.h5\.checkpoint: no such file"):
        fedmpi.state(out)
    stage = {"name": "topk", "share": 0.5, "feedback": True}
    tree = {"algorithm": {"name": "scaffold"}, "stage": [stage]}
    run = fedmpi.run(TREE | tree, out)
    found, flat = fedmpi.state(out), np.concatenate([a.ravel() for a in run.model().values()])
    np.testing.assert_array_equal(found["weights"], flat)
    assert set(found) == {"weights", "control"} and found["control"].any()
    met = set(run.clients["client"].tolist())
    controls = [fedmpi.state(out, client) for client in range(6)]
    assert [set(memory) for memory in controls] == [
        {"control"} if client in met else set() for client in range(6)
    ]


def test_progress_stops_a_run_with_everything_saved(tmp_path):
    def enough(row, rounds):
        if row["round"] == 1:
            raise StopIteration

    tree = TREE | {"run": {"rounds": 4, "checkpoint_every": 100}}
    run = fedmpi.run(tree, tmp_path / "a.h5", progress=enough)
    assert (run.status, len(run.rounds)) == ("stopped", 2)
    assert "asked to by progress" in str(run.events[-1])
    later = []
    longer = fedmpi.resume(run.path, progress=lambda row, _: later.append(row["round"]))
    whole = fedmpi.run(tree, tmp_path / "b.h5")
    assert (later, longer.weights_sha256) == ([2, 3], whole.weights_sha256)


def test_progress_gets_every_round_and_resume_adds_more(tmp_path):
    seen = []
    out = tmp_path / "a.h5"
    fedmpi.run(TREE, out, progress=lambda row, rounds: seen.append((row["round"], rounds)))
    assert seen == [(0, 2), (1, 2)]
    assert fedmpi.resume(out).status == "finished" and len(seen) == 2
    longer = fedmpi.resume(out, ["run.rounds=4"], progress=lambda row, _: seen.append(row["round"]))
    assert seen[2:] == [2, 3] and len(longer.rounds) == 4
    whole = fedmpi.run(TREE | {"run": {"rounds": 4, "seed": 3}}, tmp_path / "b.h5")
    assert whole.weights_sha256 == longer.weights_sha256


def test_many_files_are_opened_by_a_pattern_and_grouped_by_any_key(tmp_path):
    for method in ("fedavg", "fedlp"):
        for seed in (1, 2):
            sample.write(tmp_path / f"{method}-s{seed}.h5", algorithm=method, name=method,
                         seed=seed)
    runs = fedmpi.open_many(tmp_path / "*.h5")
    assert {k: len(v) for k, v in runs.by("algorithm.name").items()} == {"fedavg": 2, "fedlp": 2}
    assert set(runs.by("algorithm.name", "run.seed")) == {
        ("fedavg", 1), ("fedavg", 2), ("fedlp", 1), ("fedlp", 2)}
    with pytest.raises(ResultError, match=r"no run has .*'algorithm.nam'; did you mean .*name\?"):
        runs.by("run.seed", "algorithm.nam")
    for run, norm in zip(runs, (1.0, 1.0, 2.0, 2.0), strict=True):
        run.config["stage"] = [{"name": "clip", "norm": norm}]
    assert {k: len(v) for k, v in runs.by("stage").items()} == {
        ((("name", "clip"), ("norm", norm)),): 2 for norm in (1.0, 2.0)}
    assert [row["runs"] for row in runs.spread(0.3)] == [2, 2]
    frame = runs.to_pandas(0.3)
    assert frame["run.seed"].tolist() == [1, 2, 1, 2] and frame["rounds_to"].tolist() == [4] * 4
    with pytest.raises(ResultError, match="fits no result file"):
        fedmpi.open_many(tmp_path / "*.hdf")


def test_a_path_with_brackets_is_a_path_if_it_exists(tmp_path):
    (tmp_path / "runs [old]").mkdir()
    path = sample.write(tmp_path / "runs [old]/a.h5", rounds=1)
    assert [run.path for run in fedmpi.open_many(path)] == [str(path)]
    with pytest.raises(ResultError, match=r"b\.h5: no such file; the pattern fits"):
        fedmpi.open_many(tmp_path / "runs [old]/b.h5")


def test_no_runs_have_no_spread():
    assert fedmpi.open_many().spread(0.5) == []
