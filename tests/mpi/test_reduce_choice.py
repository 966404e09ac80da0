"""The plan of a sum, its costs, and the choice of auto."""

import itertools
from dataclasses import replace
from math import inf

import numpy as np
import pytest

from fedmpi.comm.reduce import ALGORITHMS, Log, Reducer, auto, cost, forecast
from fedmpi.comm.reduce.field import FLAT, Field
from fedmpi.comm.reduce.halving import levels
from fedmpi.comm.reduce.link import Link
from fedmpi.comm.reduce.packed import PackedField
from fedmpi.errors import ConfigError
from tests.mpi.reduce_cases import make

ETHERNET = cost.Cost(
    alpha=2e-5, beta=8e-10, gather=8e-10, start=4e-5, sum=1.6e-9, emit=1e-9, add=2e-9, scan=1e-10
)


def plan_of(ranks, size, density, same=False):
    """Return the Plan of ranks with independent supports of one density."""
    rows = np.zeros((ranks, forecast.MARKS.stop + forecast.BINS), np.int64)
    width = forecast.bin_width(size)
    filled = np.clip(size - width * np.arange(forecast.BINS), 0, width)
    rows[:, forecast.MARKS.stop :] = np.rint(filled * density)
    rows[:, forecast.UNITS] = rows[:, forecast.COORDINATES] = rows[:, forecast.MARKS.stop :].sum(1)
    rows[:, forecast.MARKS] = 7 if same else np.arange(ranks)[:, None]
    return forecast.Forecast(rows, size, size, per_value=4, per_weight=0, flat=True, exact=False)


def best(ranks, size, density, same=False):
    """Return the algorithm with the least modelled time on 10 Gbit/s Ethernet."""
    shape = plan_of(ranks, size, density, same)
    return min(ALGORITHMS, key=lambda name: ALGORITHMS[name].seconds(ETHERNET, shape))


def test_the_model_chooses_as_the_analysis_says():
    assert best(4, 10**7, 0.001) == "allgatherv"
    assert best(64, 10**7, 0.001) == "halving"
    assert best(64, 10**7, 0.2) in ("dsar", "dense")
    assert best(16, 10**7, 1.0, same=True) in ("shared", "dense")
    assert best(16, 10**7, 0.1, same=True) == "shared"
    assert ALGORITHMS["shared"].seconds(ETHERNET, plan_of(4, 100, 0.1)) == inf


@pytest.mark.parametrize("ranks", [2, 3, 5, 7, 8, 13])
def test_every_level_of_halving_pairs_up(ranks):
    """A rank's partner keeps each range that the rank gives, and one rank finishes a range."""
    shape = plan_of(ranks, 100_000, 0.1)
    cuts = {rank: levels(rank, ranks, shape) for rank in range(ranks)}
    for rank, mine in cuts.items():
        for depth, level in enumerate(mine):
            theirs = cuts[level.partner][depth]
            assert theirs.keep == level.give
            assert theirs.odd == rank if level.alone else theirs.partner == rank
    owned = sorted(mine[-1].keep for mine in cuts.values())
    assert owned[0][0] == 0 and owned[-1][1] == 100_000
    assert all(a[1] == b[0] for a, b in itertools.pairwise(owned))


def test_ranges_are_cut_where_the_load_is():
    shape = plan_of(4, 64 * 64 * 10, 0.0)
    shape.rows[:, forecast.MARKS.stop :] = 0
    shape.rows[:, forecast.MARKS.stop + 8 : forecast.MARKS.stop + 16] = 640
    bounds = shape.bounds([1, 1, 1, 1])
    loads = [
        shape.rows[:, forecast.MARKS.stop :].sum(0)[a // 640 : b // 640].sum()
        for a, b in itertools.pairwise(bounds)
    ]
    assert max(loads) < 0.35 * sum(loads)


def test_the_union_is_estimated_bin_by_bin(comm):
    case = make(8, 200_000, support="skewed", density=0.05)
    link = Link(comm.raw)
    rows = []
    for rank in range(8):
        total, _, touched, _ = case.copy(rank)
        if comm.size == 1:
            field = PackedField.of(Field(total, total[:0], touched, FLAT), link)
            shape, _ = forecast.exchange(link, field, np.int64(1))
            rows.append(shape.rows[0])
    if rows:
        shape = replace(shape, rows=np.array(rows))
        assert shape.union(8) == pytest.approx(case.expected[2].sum(), rel=0.03)


def test_measured_costs_are_alike_on_all_ranks_and_kept(comm, world, shared_path):
    path = shared_path / "cost.json"
    link = Link(comm.raw)
    first = cost.calibrate(link, path)
    world.Barrier()
    assert world.allgather(first) == [first] * comm.size
    assert cost.calibrate(link, path) == first
    assert min(first.beta, first.gather, first.sum, first.add) > 0
    if comm.rank == 0:
        path.write_text("{")
    world.Barrier()
    assert cost.calibrate(link, path) != first


def test_auto_says_what_it_chose_and_what_it_cost(comm, monkeypatch):
    predicted, seconds = [], auto._seconds
    monkeypatch.setattr(
        auto, "_seconds", lambda *of: predicted.append(seconds(*of)) or predicted[-1]
    )
    reducer = Reducer(comm.raw, "auto", nodes=comm.rank)
    case = make(comm.size, 20_000, density=0.01)
    record = reducer.sum(*case.copy(comm.rank)).record
    if comm.size == 1:
        assert record.algorithm == "node" and record.bytes == 0
        return
    assert set(predicted[0]) == set(ALGORITHMS)
    assert predicted[0][record.algorithm] == min(predicted[0].values())
    assert record.seconds > 0 and record.bytes > 0 and record.regret >= 0
    case = make(comm.size, 20_000, support="identical")
    reducer.sum(*case.copy(comm.rank))
    assert predicted[0]["shared"] == inf and predicted[-1]["shared"] < inf


@pytest.mark.ranks(2)
def test_auto_keeps_to_its_choice_while_sums_are_alike(comm, monkeypatch):
    """The second choice knows the union of the first sum; then only a change makes another."""
    chosen = []
    seconds = auto._seconds
    monkeypatch.setattr(auto, "_seconds", lambda c, p: chosen.append(p.known) or seconds(c, p))
    reducer = Reducer(comm.raw, "auto", nodes=comm.rank)
    alike, other = (make(comm.size, 20_000, density=d) for d in (0.05, 0.3))
    same = make(comm.size, 20_000, support="identical", density=0.05)
    counts = []
    for case in (alike, alike, alike, alike, other, same, same):
        before = len(chosen)
        result = reducer.sum(*case.copy(comm.rank))
        np.testing.assert_array_equal(result.total, case.expected[0])
        counts.append(len(chosen) - before)
    assert counts[:4] == [1, 1, 0, 0]
    assert chosen[1] == alike.expected[2].sum()
    assert counts[4] >= 1 and counts[5] >= 1 and counts[6] == 1
    reducer.sum(*case.copy(comm.rank), name="of another name")
    assert len(chosen) > sum(counts)
    reducer.close()


@pytest.mark.ranks(2)
def test_the_log_holds_every_message(comm, world):
    log = Log()
    reducer = Reducer(comm.raw, "halving", log=log)
    case = make(comm.size, 5000)
    record = reducer.sum(*case.copy(comm.rank)).record
    rows = log.rows()
    assert rows["bytes"].sum() == record.bytes
    pairs = rows[rows["target"] >= 0]
    everyone = np.concatenate(world.allgather(pairs))
    assert len(everyone) == 2 * sum(
        len(levels(rank, comm.size, plan_of(comm.size, 5000, 0.2))) for rank in range(comm.size)
    )
    log.clear()
    assert log.rows().size == 0


def test_unknown_algorithms_are_refused(comm):
    with pytest.raises(
        ConfigError, match=r"collective.algorithm = 'quick': unknown\nallowed: auto"
    ):
        Reducer(comm.raw, "quick")


@pytest.mark.ranks(2)
def test_a_sum_that_does_not_fit_shared_memory_is_refused_on_all_ranks(comm):
    reducer = Reducer(comm.raw)
    with pytest.raises(ConfigError, match=r"collective.algorithm: needs .* MiB of shared memory"):
        reducer.row("huge", 1 << 40)
    small = np.ones(8, np.int64)
    for name in ("sum", "other"):
        reducer.sum(small.copy(), small[:0], np.ones(8, np.uint8), name=name)
    with pytest.raises(ConfigError, match=r"needs .* MiB of shared memory"):
        reducer.row("sum", 1 << 40)  # in place of a smaller row, whose memory is free already
    assert reducer.sum(small, small[:0], np.ones(8, np.uint8)).total.tolist() == [comm.size] * 8
    reducer.close()
