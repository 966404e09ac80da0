"""Sums behind other work give the same bits, alone and in the round loop."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fedmpi.comm.reduce import Reducer
from fedmpi.errors import RejectedError
from fedmpi.exchange import Failure
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import of_tree
from fedmpi.experiment.stop import NoSignals
from fedmpi.layout import Layer, Layout, Support, Tensor
from fedmpi.round.loop import Simulation
from fedmpi.totals import Total
from tests.mpi.reduce_cases import make
from tests.round.test_loop import TREE

METHODS = {
    "fedlp": {"p": 0.4},
    "fedskel": {"ratio": 0.5, "updates_per_set": 1},
    "scaffold": {},
}
SUMMED = "sum", "cover", "touched"
MEASURED = {"wall_time", "mpi_bytes", "collective", "collective_regret", "memory_peak"}
LAYOUT = Layout((Tensor("w", (50,), 0, 0, 5, True),), (Layer("w", "linear", 5, 50),))


@pytest.mark.parametrize("algorithm", ["auto", "halving"])
def test_a_sum_behind_work_has_the_bits_of_numpy(comm, algorithm):
    reducer, thread = Reducer(comm.raw, algorithm), ThreadPoolExecutor(1)
    cases = [make(comm.size, 2000, units) for units in ("coordinates", "rows")]
    given = [case.copy(comm.rank) for case in cases]
    pending = [thread.submit(reducer.sum, *given[i], name=str(i)) for i in range(len(cases))]
    comm.barrier()  # messages of another communicator do not meet those of the sum
    for case, future in zip(cases, pending, strict=True):
        np.testing.assert_array_equal(future.result().total, case.expected[0])
    thread.shutdown()
    reducer.close()


def test_an_error_on_the_thread_reaches_the_caller(comm):
    comm.sum_ahead({"weights": None})
    with pytest.raises(AttributeError, match="NoneType"):
        comm.drop_ahead()
    comm.drop_ahead()  # the next has nothing to wait for


@pytest.mark.ranks(2)
@pytest.mark.parametrize("dropped", [False, True])
def test_the_next_sum_adds_what_was_begun_ahead_unless_it_was_dropped(comm, dropped):
    def total(value):
        one = Total(LAYOUT, "row")
        one.add(np.full(50, value, np.float32), 0.5 / comm.size)
        return one

    ahead, rest = total(comm.rank + 1.0), total(4.0)
    comm.sum_ahead({"weights": ahead})
    comm.barrier()
    if dropped:
        comm.drop_ahead()
    comm.sum({"weights": rest})
    expected = 4.0 if dropped else (4.0 + (comm.size + 1) / 2) / 2
    assert rest.weight == pytest.approx(0.5 if dropped else 1.0)
    np.testing.assert_allclose(rest.mean(np.zeros(50, np.float32)), expected, rtol=1e-6)


def run_of(comm, method, overlap, **clients):
    tree = TREE | {"model": {"name": "mlp"}, "collective": {"overlap": overlap}}
    tree |= {"algorithm": {"name": method} | METHODS[method]}
    tree |= {"clients": TREE["clients"] | clients}
    return Simulation(assemble(of_tree(tree), comm, None), comm, NoSignals())


@pytest.mark.parametrize("method", METHODS)
def test_overlap_changes_no_bit_of_a_run(comm, monkeypatch, method):
    begun = []
    if comm.size > 1:
        ahead = type(comm).sum_ahead
        monkeypatch.setattr(
            type(comm), "sum_ahead", lambda self, totals: begun.append(1) or ahead(self, totals)
        )
    most = 2 * comm.size + 1  # each rank trains two clients at least
    clients = {"number": max(TREE["clients"]["number"], most), "per_round": max(most, 9)}
    found = {}
    for overlap in ("off", "on"):
        run = run_of(comm, method, overlap, **clients)
        columns = [run.round().columns for _ in range(4)]
        kept = [{k: v for k, v in row.items() if k not in MEASURED} for row in columns]
        found[overlap] = run.state["weights"], kept
    assert len(begun) == (3 if comm.size > 1 else 0)  # not in the first round
    np.testing.assert_array_equal(found["on"][0], found["off"][0])
    for one, other in zip(found["on"][1], found["off"][1], strict=True):
        np.testing.assert_equal(one, other)


def test_a_round_that_is_given_up_leaves_nothing_of_what_was_begun(comm, monkeypatch):
    run, other = (run_of(comm, "fedlp", "on", per_round=9) for _ in range(2))
    for one in (run, other):
        one.round()
    with monkeypatch.context() as patch:
        failed = lambda jobs: (Failure(job.client, "not today") for job in jobs)  # noqa: E731
        patch.setattr(run.experiment.engine, "train", failed)
        with pytest.raises(RejectedError, match=r"9 rejected .*: not today"):
            run.round()
    for one in (run, other):
        one.round()
    np.testing.assert_array_equal(run.state["weights"], other.state["weights"])


@pytest.mark.parametrize("level", ["model", "row", "coordinate"])
@pytest.mark.parametrize("algorithm", ["auto", "dense"])
def test_placed_totals_hold_the_sums_of_totals_elsewhere(comm, algorithm, level):
    """Round after round, with sums begun ahead and rounds that were given up between them."""
    comm.sum_by(algorithm)
    rng = np.random.default_rng(comm.rank)
    for turn in range(6):
        placed, free = {"weights": Total(LAYOUT, level)}, {"weights": Total(LAYOUT, level)}
        comm.allocate(placed)
        assert not (placed["weights"].sum.any() or placed["weights"].touched.any())
        values = rng.standard_normal(50).astype(np.float32)
        units = placed["weights"].starts.size - 1
        support = Support(LAYOUT, level, (rng.random(units) < 0.6).astype(np.uint8))
        for sums in (placed, free):
            sums["weights"].add(values, 0.6 / comm.size, support)
        if turn == 2:
            continue
        if turn == 3 and comm.overlaps:
            comm.sum_ahead(placed)
            placed = {"weights": Total(LAYOUT, level)}
            for sums in (placed, free):
                sums["weights"].add(2 * values, 0.2 / comm.size, support)
        comm.sum(placed)
        got = {name: np.copy(getattr(placed["weights"], name)) for name in SUMMED}
        comm.sum(free)
        for name in SUMMED:
            np.testing.assert_array_equal(got[name], getattr(free["weights"], name), name)
