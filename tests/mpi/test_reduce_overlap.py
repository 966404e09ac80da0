"""Sums behind other work give the same bits, and the ranks agree on whether they pay."""

import time

import numpy as np
import pytest

from fedmpi.comm.reduce import Reducer
from fedmpi.comm.reduce.overlap import Behind, worth
from tests.mpi.reduce_cases import make


@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("algorithm", ["auto", "halving"])
def test_a_sum_behind_work_has_the_bits_of_numpy(comm, algorithm, active):
    reducer, behind = Reducer(comm.raw, algorithm), Behind(active)
    cases = [make(comm.size, 2000, units) for units in ("coordinates", "rows")]
    given = [case.copy(comm.rank) for case in cases]
    pending = [
        behind.start(lambda i=i: reducer.sum(*given[i], name=str(i))) for i in range(len(cases))
    ]
    comm.barrier()  # messages of another communicator do not meet those of the sum
    for case, future in zip(cases, pending, strict=True):
        np.testing.assert_array_equal(future.result().total, case.expected[0])
    behind.close()
    reducer.close()


def test_an_error_on_the_thread_reaches_the_caller():
    behind = Behind()
    with pytest.raises(ZeroDivisionError):
        behind.start(lambda: 1 // 0).result()
    behind.close()


def test_ranks_agree_on_whether_it_pays(comm, world):
    # Sleep stands for a sum that waits for the network, and for one that is no wait at all.
    slow = worth(comm.raw, lambda: time.sleep(0.02), lambda: time.sleep(0.03))
    none = worth(comm.raw, lambda: None, lambda: time.sleep(0.001))
    assert slow
    assert world.allgather((slow, none)) == [(slow, none)] * comm.size
