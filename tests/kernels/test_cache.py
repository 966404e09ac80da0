"""Processes that share an empty cache compile each signature of a kernel once."""

import errno
import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numba
import pytest
from numba.core.caching import CacheImpl, IndexDataCacheFile

from tests.conftest import SOON

compiling = pytest.mark.skipif("NUMBA_DISABLE_JIT" in os.environ, reason="nothing is compiled")
KERNELS = """
import sys
import numpy as np
from fedmpi.kernels._jit import kernel

@kernel
def square(value):
    return value * value

@kernel
def total(values):
    found = values[0] - values[0]
    for value in values:
        found += square(value)
    return found

if __name__ == "__main__":
    from pairs import total
    print("ready", flush=True)
    sys.stdin.readline()
    for dtype in (np.int64, np.float64):
        print("total", total(np.arange(4, dtype=dtype)))
"""


@compiling
def test_four_processes_compile_each_signature_once(tmp_path):
    (tmp_path / "pairs.py").write_text(KERNELS)
    cache, pipe = tmp_path / "cache", subprocess.PIPE
    env = {**os.environ, "NUMBA_DEBUG_CACHE": "1", "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "pairs.py"]
    started = [subprocess.Popen(command, cwd=tmp_path, env=env, stdin=pipe, stdout=pipe, text=True)
               for _ in range(4)]
    for process in started:
        while process.stdout.readline() != "ready\n":
            assert process.poll() is None
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=SOON)[0] for process in started]
    for text in said:
        assert re.findall(r"^total (\S+)$", text, re.M) == ["14", "14.0"]
    count = Counter(re.findall(r"data saved to '([^']*)'", "".join(said)))
    assert len(count) == 4 and set(count.values()) == {1}
    assert {Path(path) for path in count} == set(cache.rglob("*.nbc"))


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Return a function that imports the kernels again, as a new process would."""
    (tmp_path / "pairs.py").write_text(KERNELS)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))

    def start():
        spec = importlib.util.spec_from_file_location("pairs", tmp_path / "pairs.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "pairs", module)
        spec.loader.exec_module(module)
        return module.square

    return start


def loaded(square):
    """Return how many signatures of a kernel came from the cache."""
    return sum(square.stats.cache_hits.values())


@compiling
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"no pickle"])
def test_damaged_files_of_the_cache_are_made_again(made, tmp_path, kind, content):
    assert made()(3) == 9
    for path in (tmp_path / "cache").rglob(f"*square*.{kind}"):
        path.write_bytes(content)
    again = made()
    assert again(3) == 9 and loaded(again) == 0
    third = made()
    assert third(3) == 9 and loaded(third) == 1


@compiling
@pytest.mark.parametrize("method", ["_save_index", "_save_data"])
def test_a_full_disk_under_the_cache_costs_time_alone(made, tmp_path, monkeypatch, method):
    with monkeypatch.context() as patch:
        patch.setattr(IndexDataCacheFile, method, full)
        assert made()(3) == 9
    assert not list((tmp_path / "cache").rglob("*.nb?"))  # an index could name a file of other code
    assert made()(3) == 9 and list((tmp_path / "cache").rglob("*.nbc"))


def full(*_):
    """Fail as a write to a full disk does."""
    raise OSError(errno.ENOSPC, "No space left on device")


@compiling
def test_kernels_work_where_no_folder_can_be_written(made, monkeypatch):
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    square = made()
    assert (square(3), square(1.5)) == (9, 2.25)
