"""Memory is that of this process, whichever process started it."""

import numpy as np

from fedmpi.resident import peak

PEAK = "from fedmpi.resident import peak; print(peak())"
# In a process of its own: a long one can serve the block from memory that it never gave back.
GIVEN_BACK = """
import numpy as np
from fedmpi.resident import peak, resident
before = resident()
block = np.ones(40_000_000)
print(resident() - before)
del block
print(resident() - before, peak() - before)
"""


def test_what_was_given_back_counts_for_the_peak_alone(run_python):
    held, given_back, most = map(int, run_python("-c", GIVEN_BACK).stdout.split())
    assert given_back < 100_000_000 < 300_000_000 < min(held, most)


def test_a_parent_s_memory_is_not_its_child_s(run_python):
    block = np.ones(40_000_000)
    assert int(run_python("-c", PEAK).stdout) < block.nbytes < peak()
