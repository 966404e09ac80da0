"""The benchmark of sums over ranks: its arms agree, its numbers add up, its bars are judged."""

import json

import numpy as np
import pytest

from fedmpi.bench import collectives, scale, schemes
from fedmpi.comm.reduce import ALGORITHMS

CASE = collectives.Case(20_000, 0.01, "independent", 2)


def given(comm, k=60):
    rng = np.random.default_rng(comm.rank)
    indices = np.sort(rng.choice(2000, k, replace=False)).astype(np.uint32)
    return indices, rng.integers(1, 9, k).astype(np.float32)


def dense(comm, world):
    """Return the sum of all that `given` gives."""
    total = np.zeros(2000, np.float32)
    for indices, values in world.allgather(given(comm)):
        total[indices] += values
    return total


@pytest.mark.parametrize("scheme", [schemes.pickled, schemes.gathered])
def test_exact_schemes_give_the_sum(comm, world, scheme):
    call = scheme(comm.raw, 2000, *given(comm))
    for _ in range(2):
        np.testing.assert_array_equal(call(), dense(comm, world))


@pytest.mark.parametrize("scheme", [schemes.gtopk, schemes.oktopk])
def test_lossy_schemes_keep_large_sums_alike_on_all_ranks(comm, world, scheme):
    call, total = scheme(comm.raw, 2000, *given(comm)), dense(comm, world)
    for _ in range(2):
        indices, values = call()
        pairs = world.allgather((indices.tolist(), values.tolist()))
        assert pairs == [pairs[0]] * comm.size
        assert (np.abs(values) <= total[indices]).all()
        if scheme is schemes.oktopk:  # one threshold for all: nothing larger was dropped
            np.testing.assert_array_equal(values, total[indices])
            left = np.delete(total, indices)
            assert left.max(initial=0) <= values.min()


def test_every_arm_is_measured_and_the_result_is_json(comm, world):
    rows = collectives.measure(comm.raw, CASE)
    arms = [row.arm for row in rows]
    assert {"exact", "fast", "flat auto", "mpi float64", "pickled", "gtopk", "oktopk"} <= set(arms)
    assert {f"flat {name}" for name in ALGORITHMS} <= set(arms)
    assert all(row.seconds > 0 and row.median >= row.seconds for row in rows)
    assert min(row.regret for row in rows if row.arm not in collectives.INEXACT) == 0
    assert len(set(world.allgather(tuple(row.seconds for row in rows)))) == 1
    by_arm = {row.arm: row for row in rows}
    if comm.size > 1:
        assert by_arm["flat halving"].bytes < by_arm["flat dense"].bytes
        assert by_arm["exact"].bytes == 0
        assert by_arm["exact"].union == pytest.approx(by_arm["flat dense"].union)
    bars = collectives.bars(rows, comm.size)
    assert {bar.name: bar.met for bar in bars}["exact over MPI float32, density 0.01"] is None
    json.dumps([bar.plain() for bar in bars])


@pytest.mark.parametrize("support", collectives.SUPPORTS)
def test_supports_have_the_density_that_was_asked_for(support):
    case = collectives.Case(200_000, 0.05, support, 1)
    units = collectives.support(case, 0)
    assert (np.diff(units.astype(np.int64)) > 0).all() and units[-1] < case.n
    assert units.size / case.n == pytest.approx(0.05, rel=0.2)
    same = np.array_equal(units, collectives.support(case, 1))
    assert same == (support == "identical")


@pytest.mark.parametrize("ranks", [3, 4, 8])
def test_messages_at_scale_are_those_of_the_algorithms(ranks):
    network = scale.NETWORKS["10 Gbit/s Ethernet"]
    supports = scale.Supports.draw(ranks, 4096, 0.1, size=4096)
    flags = np.unpackbits(supports.bits, axis=1)
    union = flags.max(0).sum()
    rounds = list(scale.halving(supports, network))
    values = sum((r.bytes - scale.HEAD).sum() for r in rounds)
    assert values > (ranks - 1) * union * supports.per_value  # on the way back alone
    held = sum(r.bytes.sum() for r in scale.scatter(supports, network))
    own = sum(
        flags[r, a:b].sum()
        for r in range(ranks)
        for t, (a, b) in enumerate(zip(*[supports.bounds([1] * ranks)[i:] for i in (0, 1)]))
        if t != r
    )
    assert held >= own * supports.per_value


def test_predictions_follow_the_analysis():
    rows = scale.run(n=10**7, density=0.01, ranks=(4, 64))
    took = {(r["network"], r["ranks"], r["method"]): r["seconds"] for r in rows}
    slow = "10 Gbit/s Ethernet"
    assert took[slow, 4, "allgatherv"] < took[slow, 4, "dense"] / 10
    assert took[slow, 64, "halving"] < took[slow, 64, "allgatherv"]
    assert took[slow, 64, "dsar"] < took[slow, 64, "dense"] < 2.1 * took[slow, 64, "dsar"]


@pytest.mark.ranks(2)
def test_a_log_is_replayed_alike_on_all_ranks(comm, world):
    """How near the times are is for the benchmark: on a busy machine it says nothing."""
    found = scale.check(comm.raw, n=300_000, density=0.02, repeats=3)
    assert set(found) == {"halving", "split", "allgatherv"}
    assert len(set(map(str, world.allgather(found)))) == 1
    assert all(taken > 0 and predicted > 0 for taken, predicted in found.values())
