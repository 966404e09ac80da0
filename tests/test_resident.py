"""Memory is that of this process, whatever process started it."""

import subprocess
import sys

import numpy as np

from fedmpi.resident import peak, resident

CHILD = "from fedmpi.resident import peak; print(peak())"


def test_what_was_given_back_counts_for_the_peak_alone():
    before = resident()
    block = np.ones(40_000_000)
    assert resident() - before > 300_000_000
    del block
    assert resident() - before < 100_000_000
    assert peak() - before > 300_000_000


def test_a_parent_s_memory_is_not_its_child_s():
    block = np.ones(40_000_000)
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    assert int(done.stdout) < block.nbytes < peak()
