"""A model from the cache is the model that torch would build, and no other."""

import os

import numpy as np
import pytest

from fedmpi.comm.base import Serial
from fedmpi.experiment import model_cache, node_engine
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import of_tree
from fedmpi.experiment.stop import NoSignals
from fedmpi.round.loop import Simulation

TREE = {
    "run": {"seed": 3, "rounds": 1, "engine": "auto"},
    "data": {"name": "patterns", "images": 60, "side": 16},
    "clients": {"number": 3, "batch_size": 16},
    "model": {"name": "mlp", "hidden": [16]},
}
GATED = TREE | {"model": {"name": "lenet5"}, "algorithm": {"name": "adp-v1", "ratio": 0.5}}
BESIDE = """
import sys
from fedmpi.cli import main
code = main(sys.argv[1:])
print("torch" in sys.modules)
sys.exit(code)
"""
CONFIG = """
[run]
rounds = 1
[data]
name = "patterns"
images = 60
side = 16
[clients]
number = 4
[model]
name = "mlp"
"""


def made(cache, tree=TREE, environ=None):
    return assemble(of_tree(tree), Serial(), None, cache, environ=environ or {})


def files(cache):
    return sorted(cache.glob("models/*"))


@pytest.fixture
def without_torch(monkeypatch):
    """Return a function; once it is called, building a model fails."""
    def refuse(*args):
        raise AssertionError("a model is built")

    return lambda: monkeypatch.setattr(node_engine, "_built", refuse)


def trained(experiment):
    run = Simulation(experiment, Serial(), NoSignals())
    run.round()
    return run.state["weights"]


@pytest.mark.parametrize("tree", [TREE, GATED])
def test_a_model_that_is_kept_trains_to_the_same_bits(tree, tmp_path, without_torch):
    first = made(tmp_path, tree)
    assert len(files(tmp_path)) == 1 and not [*tmp_path.glob("models/*.part")]
    without_torch()
    second = made(tmp_path, tree)
    assert second.layout == first.layout and second.engine.facts == first.engine.facts
    assert "reason" in first.engine.facts
    np.testing.assert_array_equal(second.weights, first.weights)
    np.testing.assert_array_equal(trained(second), trained(first))


@pytest.mark.parametrize(("section", "change"), [
    ("run", {"seed": 4}), ("run", {"engine": "kernels"}), ("data", {"side": 12}),
    ("data", {"classes": 4}), ("model", {"hidden": [17]}), ("clients", {"batch_size": 32}),
])  # fmt: skip
def test_a_model_of_other_facts_is_another(section, change, tmp_path):
    made(tmp_path)
    other = made(tmp_path, TREE | {section: TREE[section] | change})
    assert len(files(tmp_path)) == 2
    fresh = made(None, TREE | {section: TREE[section] | change})
    np.testing.assert_array_equal(other.weights, fresh.weights)


def test_other_code_processors_and_libraries_have_models_of_their_own(tmp_path, monkeypatch):
    made(tmp_path)
    for name, other in (("_code", lambda: "else"), ("version_of", lambda name: "0.1")):
        monkeypatch.setattr(model_cache, name, other)
        made(tmp_path)
    monkeypatch.undo()
    made(tmp_path, environ={"ATEN_CPU_CAPABILITY": "default"})
    assert len(files(tmp_path)) == 4


def test_kinds_of_arm_processors_have_models_of_their_own(tmp_path, monkeypatch):
    for part in ("0xd0c", "0xd40"):
        lines = f"Features\t: fp asimd\nCPU part\t: {part}\n"
        monkeypatch.setattr(model_cache.processors, "described", lambda lines=lines: lines)
        made(tmp_path)
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("tree", [
    TREE | {"run": {"engine": "torch"}},
    TREE | {"model": {"name": "tests.twins.net:small"}, "data": TREE["data"] | {"side": 8}},
    TREE | {"model": {"name": "mlp", "frozen": ["fc1.weight"]}},
])  # fmt: skip
def test_what_needs_torch_or_is_code_of_users_is_not_kept(tree, tmp_path):
    made(tmp_path, tree)
    assert not files(tmp_path)


@pytest.mark.parametrize("damage", [
    lambda data: data[:-1], lambda data: b"", lambda data: data[:20],
    lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: bytes([data[0] ^ 1]) + data[1:],
])  # fmt: skip
def test_a_damaged_file_is_made_again(damage, tmp_path):
    first = made(tmp_path)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    np.testing.assert_array_equal(made(tmp_path).weights, first.weights)
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path):
    (tmp_path / "models").write_text("a file where the folder should be")
    np.testing.assert_array_equal(made(tmp_path).weights, made(None).weights)


def test_models_that_were_not_used_for_longest_go(tmp_path, monkeypatch, without_torch):
    made(tmp_path)
    (oldest,) = files(tmp_path)
    monkeypatch.setattr(model_cache, "MOST", 2.5 * oldest.stat().st_size)
    os.utime(oldest, (1, 1))
    for seed in (4, 5):
        made(tmp_path, TREE | {"run": {"seed": seed}})
    assert len(files(tmp_path)) == 2 and oldest not in files(tmp_path)
    for kept in files(tmp_path):
        os.utime(kept, (1, 1))
    made(tmp_path, TREE | {"run": {"seed": 4}})  # used, so the other one is the older
    made(tmp_path)
    assert oldest in files(tmp_path) and len(files(tmp_path)) == 2
    without_torch()
    made(tmp_path, TREE | {"run": {"seed": 4}})


def test_a_file_that_another_process_removes_meanwhile_is_passed_over(tmp_path, monkeypatch):
    made(tmp_path)
    (tmp_path / "models/gone").symlink_to(tmp_path / "nowhere")  # listed, but not to be looked at
    monkeypatch.setattr(model_cache, "MOST", 0)
    made(tmp_path, TREE | {"run": {"seed": 4}})
    assert [path.name for path in files(tmp_path)] == ["gone"]


def test_the_second_start_of_a_run_never_imports_torch(tmp_path, run_python):
    (tmp_path / "exp.toml").write_text(CONFIG)
    words = "-c", BESIDE, "run", "exp.toml", "-o", "out.h5", "--overwrite", "--quiet"
    for imported in (True, False):
        done = run_python(*words, XDG_CACHE_HOME=str(tmp_path / "cache"))
        assert (done.returncode, done.stdout.split(), done.stderr) == (0, [str(imported)], "")
