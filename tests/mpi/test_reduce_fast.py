"""float32 sums: the same bits on every rank and in every run, near the exact sum."""

import numpy as np
import pytest

from fedmpi.comm.reduce import CHOICES, Reducer
from tests.mpi.reduce_cases import UNITS, make

LAYOUTS = [(name, None) for name in CHOICES] + [("auto", 1), ("auto", 2)]


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize(("algorithm", "per_node"), LAYOUTS)
def test_fast_sums_are_alike_on_all_ranks(comm, world, algorithm, per_node, units):
    nodes = None if per_node is None else comm.rank // per_node
    reducer = Reducer(comm.raw, algorithm, nodes=nodes)
    case = make(comm.size, 3000, units, kind=np.float32)
    runs = [reducer.sum(*case.copy(comm.rank), name=str(run)) for run in range(2)]
    np.testing.assert_array_equal(runs[0].total, runs[1].total)
    bits = world.allgather((runs[0].total.tobytes(), runs[0].cover.tobytes()))
    assert set(bits) == {bits[0]}

    near = np.abs(case.totals.astype(np.float64)).sum(0)
    error = np.abs(runs[0].total - case.totals.astype(np.float64).sum(0))
    assert (error <= near * comm.size * 2.0**-23).all()
    np.testing.assert_array_equal(runs[0].touched, case.expected[2])
    np.testing.assert_allclose(runs[0].cover, case.expected[1], rtol=1e-6)
    reducer.close()
