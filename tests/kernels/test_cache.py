"""Processes that share an empty cache compile each signature of a kernel once."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import SOON

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


@pytest.mark.skipif("NUMBA_DISABLE_JIT" in os.environ, reason="nothing is compiled")
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
