"""Compiled kernels are kept on the node, for one source and processor, and made once."""

import os
import re
import stat
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from fedmpi.cli import kernel_cache

CONFIG = """
[run]
rounds = 2
[data]
name = "patterns"
side = 8
images = 60
[clients]
number = 4
local_steps = 1
batch_size = 4
[model]
name = "softmax"
"""


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Return a temporary folder of the node that is empty."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path


def saved(done):
    """Return how often each compiled function was written, from numba's own account."""
    return Counter(re.findall(r"data saved to '([^']*)'", done.stdout))


@pytest.mark.soak  # tests/kernels/test_cache.py does so with two small kernels
@pytest.mark.timeout(280)
@pytest.mark.skipif("NUMBA_DISABLE_JIT" in os.environ, reason="nothing is compiled")
def test_four_ranks_on_an_empty_cache_compile_each_kernel_once(run_fedmpi, tmp_path):
    (tmp_path / "exp.toml").write_text(CONFIG)
    cache = tmp_path / "cache"
    words = ("run", "exp.toml", "--quiet", "--overwrite", "-o")
    how = {"timeout": 260, "NUMBA_DEBUG_CACHE": "1", "NUMBA_CACHE_DIR": str(cache)}
    first = run_fedmpi(*words, "first.h5", ranks=4, **how)
    assert first.returncode == 0, first.stderr
    count = saved(first)
    assert len(count) > 5 and set(count.values()) == {1}
    assert {Path(path) for path in count} == set(cache.rglob("*.nbc"))  # nowhere else
    again = run_fedmpi(*words, "again.h5", ranks=2, **how)
    assert again.returncode == 0 and not saved(again)


VERBS = """
import sys
from fedmpi import cli
from fedmpi.cli import bench_setup, inspect, new, run

def named(environ):
    print(words, "late" if "numba" in sys.modules else "in time")
    sys.exit()

for module in (bench_setup, inspect, new, run):
    module.keep_kernels_on_node = named
for words in (["warmup"], ["run", "exp.toml", "-o", "a.h5"], ["bench", "run", "exp.toml"],
              ["check", "exp.toml"], ["check-method", "fedavg"],
              *(["bench", what, "--quick"] for what in ("round", "collectives", "scale", "world")),
              ["bench", "round", "--quick", "--engine", "batched"], ["bench", "kernels"],
              ["bench", "collectives", "--ranks", "2"]):
    try:
        cli.main(words)
    except SystemExit:
        pass
"""


def test_each_verb_names_the_folder_before_the_compiler_is_loaded(run_python, tmp_path):
    """numba takes the folder when it is loaded: warmup compiled into another than it named."""
    (tmp_path / "exp.toml").write_text(CONFIG)
    done = run_python("-c", VERBS)
    told = [line for line in done.stdout.splitlines() if line.endswith(("late", "in time"))]
    assert len(told) == 12, done.stdout + done.stderr
    assert not [line for line in told if line.endswith("late")]


def test_a_folder_that_the_user_names_wins(node):
    environ = {"NUMBA_CACHE_DIR": "/somewhere"}
    assert kernel_cache.keep_kernels_on_node(environ) == Path("/somewhere")
    assert environ == {"NUMBA_CACHE_DIR": "/somewhere"} and not list(node.iterdir())


def test_by_default_it_is_the_users_own_on_this_node(node):
    environ = {}
    folder = kernel_cache.keep_kernels_on_node(environ)
    assert environ["NUMBA_CACHE_DIR"] == str(folder)
    assert folder.parent.parent == node and folder.name == kernel_cache.key()
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("what", ["open to all", "a link", "a file"])
def test_a_folder_that_others_may_have_written_is_not_used(node, what):
    place = kernel_cache.node_folder()
    place.rmdir()
    if what == "open to all":
        place.mkdir()
        place.chmod(0o777)
    elif what == "a link":
        (node / "target").mkdir(mode=0o700)
        place.symlink_to(node / "target")
    else:
        place.write_text("")
    assert kernel_cache.node_folder() == node / "home" / "fedmpi" / "kernels"


def test_without_a_temporary_folder_kernels_go_to_the_users_cache(node, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nonexistent"])
    assert kernel_cache.node_folder() == node / "home" / "fedmpi" / "kernels"


def test_a_folder_on_a_read_only_disk_is_not_used(node, monkeypatch):
    assert kernel_cache.node_folder().parent == node
    monkeypatch.setattr(os, "access", lambda path, mode: not Path(path).is_relative_to(node))
    assert kernel_cache.node_folder() == node / "home" / "fedmpi" / "kernels"


def test_other_source_is_another_folder(node, monkeypatch):
    source = node / "kernels"
    source.mkdir()
    (source / "one.py").write_text("a = 1\n")
    monkeypatch.setattr(kernel_cache.kernels, "__path__", [str(source)])
    before = kernel_cache.key()
    assert kernel_cache.key() == before
    (source / "one.py").write_text("a = 2\n")
    assert kernel_cache.key() != before


def test_another_numba_is_another_folder(monkeypatch):
    before = kernel_cache.key()
    monkeypatch.setattr(kernel_cache, "version", lambda name: "0.0")
    assert kernel_cache.key() != before


def test_only_the_newest_few_folders_are_kept(node):
    home = kernel_cache.node_folder()
    for age in range(8):
        (home / f"{age:016}").mkdir()
        os.utime(home / f"{age:016}", (1e9 - age, 1e9 - age))
    kernel_cache.keep_kernels_on_node({})
    assert sorted(path.name for path in home.iterdir()) == [f"{age:016}" for age in range(4)]


def test_a_folder_in_use_outlives_newer_ones(node, monkeypatch):
    used = kernel_cache.keep_kernels_on_node({})
    for folder in (used, *(used.parent / f"{age:016}" for age in range(4))):
        folder.mkdir()
        os.utime(folder, (1e9, 1e9))
    os.utime(used, (1, 1))
    kernel_cache.keep_kernels_on_node({})
    monkeypatch.setattr(kernel_cache, "key", lambda: "other source")
    kernel_cache.keep_kernels_on_node({})
    assert used.is_dir() and len(list(used.parent.iterdir())) == 4
