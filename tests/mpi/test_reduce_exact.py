"""Every way to add up gives the bits of numpy on all inputs, and so the same as each other."""

import os
from itertools import product

import numpy as np
import pytest

from fedmpi import kernels
from fedmpi.comm.reduce import CHOICES, Reducer
from tests.mpi.reduce_cases import SUPPORTS, UNITS, make

# Nodes that the ranks are said to be on; None asks MPI, which says: all on one.
NODES = {
    "one node": None,
    "pairs": lambda rank: rank // 2,
    "odd and even": lambda rank: rank % 2,
    "each alone": lambda rank: rank,
    "all but one": lambda rank: min(rank, 1),
}


@pytest.fixture(scope="module")
def reducer(comm):
    """Return reducer(algorithm, nodes), kept for the tests of this file."""
    made = {}

    def get(algorithm, nodes="one node", **options):
        key = algorithm, nodes, *sorted(options.items())
        if key not in made:
            node = NODES[nodes] and NODES[nodes](comm.rank)
            made[key] = Reducer(comm.raw, algorithm, nodes=node, **options)
        return made[key]

    yield get
    for one in made.values():
        one.close()


def check(result, case, what=""):
    total, cover, touched = case.expected
    np.testing.assert_array_equal(result.total, total, what)
    np.testing.assert_array_equal(result.cover, cover, what)
    np.testing.assert_array_equal(result.touched, touched, what)
    density = np.diff(case.starts)[touched != 0].sum() / total.size
    assert result.record.density == pytest.approx(density)


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("algorithm", CHOICES)
def test_sum_has_the_bits_of_numpy(comm, reducer, algorithm, units):
    """All supports and sizes in a single test: they take less time than 24 tests on each rank."""
    nodes = "pairs" if algorithm.startswith("node+") else "one node"
    for support, size in product(SUPPORTS, (1, 13, 3000)):
        case = make(comm.size, size, units, support)
        result = reducer(algorithm, nodes).sum(*case.copy(comm.rank))
        check(result, case, f"{support}, {size}")


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("units", UNITS)
def test_the_layout_of_nodes_does_not_change_the_sum(comm, reducer, units, nodes):
    for support in SUPPORTS:
        case = make(comm.size, 5000, units, support)
        check(reducer("auto", nodes).sum(*case.copy(comm.rank)), case)
        assert (reducer("auto", nodes).sum(*case.copy(comm.rank)).record.algorithm == "node") == (
            nodes == "one node" or comm.size == 1 or (nodes, comm.size) == ("pairs", 2)
        )


@pytest.mark.parametrize("algorithm", CHOICES)
def test_one_weight_for_all_is_summed_as_a_number(comm, reducer, algorithm):
    case = make(comm.size, 777)
    total, _, touched, starts = case.copy(comm.rank)
    weight = 10**15 + comm.rank
    result = reducer(algorithm).sum(total, total[:0], touched, starts, weight=weight)
    np.testing.assert_array_equal(result.total, case.expected[0])
    assert result.cover.size == 0
    assert int(result.weight) == sum(10**15 + rank for rank in range(comm.size))


@pytest.mark.parametrize("algorithm", CHOICES)
def test_chunks_do_not_change_the_sum(comm, reducer, algorithm):
    nodes = "pairs" if algorithm.startswith("node+") else "one node"
    for units in ("coordinates", "rows"):
        case = make(comm.size, 9001, units)
        check(reducer(algorithm, nodes, chunk=512).sum(*case.copy(comm.rank)), case)


def test_a_sum_follows_another_of_the_same_name(comm, reducer):
    """The leftovers of one sum must not show in the next sum."""
    for support in ("full", "independent", "empty", "skewed", "identical"):
        for units in ("coordinates", "rows"):
            case = make(comm.size, 2500, units, support)
            check(reducer("auto").sum(*case.copy(comm.rank), name=units), case)


@pytest.mark.parametrize("units", UNITS)
def test_a_row_in_shared_memory_is_summed_without_a_copy_and_comes_back_empty(
    comm, reducer, units
):
    name = f"own row, {units}"
    for support in SUPPORTS:
        case = make(comm.size, 1203, units, support)
        row = reducer("auto").row(name, 1203, case.starts)
        if comm.size == 1:
            assert row is None
            return
        assert not (row.total.any() or row.touched.any() or row.cover.any())
        row.total[:], row.cover[:], row.touched[:] = case.copy(comm.rank)[:3]
        given = row.total, row.cover, row.touched, case.starts
        check(reducer("auto").sum(*given, name=name), case)
        check(reducer("auto").sum(*case.copy(comm.rank), name=name), case)


@pytest.mark.ranks(2)
@pytest.mark.skipif("NUMBA_DISABLE_JIT" in os.environ, reason="nothing is compiled")
def test_a_warm_up_compiles_what_exact_sums_call(comm, reducer):
    kernels.warmup.warm_sums()
    for units in UNITS:
        case = make(comm.size, 700, units)
        check(reducer("auto").sum(*case.copy(comm.rank), name=f"warm {units}"), case)
    for kernel in (kernels.owner.dense, kernels.owner.blocks, kernels.merge.clear):
        exact = [text for text in map(str, kernel.signatures) if text.startswith("(Array(int64")]
        assert len(exact) == 1, kernel


def test_units_may_begin_elsewhere_in_the_next_sum_of_a_name(comm, reducer):
    for first in (2, 6):
        starts, total = np.array([0, first, 8]), np.zeros(8, np.int64)
        total[:first] = comm.rank + 1
        cover, touched = np.array([1, 0]), np.array([1, 0], np.uint8)
        result = reducer("auto").sum(total, cover, touched, starts, name="moved")
        expected = [comm.size * (comm.size + 1) // 2] * first + [0] * (8 - first)
        assert result.total.tolist() == expected


def test_a_result_cannot_be_written(comm, reducer):
    case = make(comm.size, 100)
    result = reducer("auto").sum(*case.copy(comm.rank))
    with pytest.raises(ValueError, match="read-only"):
        result.total[0] = 1
