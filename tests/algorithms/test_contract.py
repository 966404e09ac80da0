"""What every algorithm owes the round loop, asked of every one registered."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from fedmpi.algorithms import ALGORITHMS
from fedmpi.comm.base import Serial
from fedmpi.errors import FedmpiError
from fedmpi.exchange import Job
from fedmpi.experiment.stop import Never
from fedmpi.layout import Support
from fedmpi.round.columns import COMPLETED
from fedmpi.round.loop import Simulation
from fedmpi.round.memories import pack, unpack
from fedmpi.round.messages import Messages
from fedmpi.round.visit import Server, add, visits
from tests.algorithms.problem import cohort_of, experiment, fedavg, same_bits, simulate, trained

# Keys under which a method does in four rounds what it is for.
KEYS = {
    "feddip": {"every": 2},
    "feddst": {"every": 2, "alpha": 0.3},
    "prunefl": {"every": 2, "free": 0.5},
    "dpf": {"start": 0.5},
    "lotteryfl": {"accuracy": 0.0},
    "topk": {"share": 0.1},
    "fedskel": {"updates_per_set": 1, "ratio": 0.5},
    "adp-v1": {"ratio": 0.5},
    "adp-v2": {"salient": 0.3},
    "heterofl": {"widths": [1.0, 0.5]},
    "heterofl-complete": {"widths": [1.0, 0.5]},
    "fedrolex": {"widths": [1.0, 0.5]},
    "fiarse": {"shares": [0.5, 0.25]},
    "sub-fedavg": {"accuracy": 0.0, "rate": 0.3},
    "fedlp-hetero": {"prefer": "uniform"},
    "lg-fedavg": {"warmup": 1},
    "skeletonization": {"criterion": 100.0},
    "prunetrain": {"every": 1, "threshold": 0.25},
}
DENSE = {"fedavg", "fedprox", "fednova", "fedmtl", "fedbn"}
NAMES = sorted(name for name, cls in ALGORITHMS.items() if cls.__module__.startswith("fedmpi."))


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def run_rounds(name, groups_of, rounds=3):
    """Run rounds, the cohort split in groups as over ranks; return the last state."""
    made = experiment(name, **KEYS.get(name, {}))
    algorithm, store = made.algorithm, made.memories
    server = Server(algorithm, (), Messages(), store.__getitem__)
    state = algorithm.start(made.weights)
    for round in range(rounds):
        totals = algorithm.zero()
        for group in groups_of(cohort_of(made, round)):
            sums = algorithm.zero()
            jobs = [
                Job(client, round, state, algorithm.plan(state, round, client), share)
                for client, share in group
            ]
            for done in visits(server, made.engine, jobs):
                assert not add(algorithm, sums, done, done.arrival).reason
                if done.memory is not None:
                    store.stage(done.job.client, unpack(pack(done.memory)))
            for key, total in sums.items():
                totals[key].join(total)
        store.commit()
        state = algorithm.step(state, totals, round)
    return state


def whole(cohort):
    return [list(zip(cohort.clients.tolist(), cohort.shares.tolist(), strict=True))]


def dealt(cohort):
    (everyone,) = whole(cohort)
    return [everyone[3:], everyone[:1], [], everyone[1:3][::-1]]


def test_the_split_of_clients_over_ranks_does_not_change_a_bit(name):
    alone, split = run_rounds(name, whole), run_rounds(name, dealt)
    assert alone.keys() == split.keys()
    for key in alone:
        assert np.array_equal(alone[key], split[key]), key


def test_a_round_without_reports_leaves_the_weights_unless_the_method_prunes(name):
    algorithm = experiment(name, **KEYS.get(name, {})).algorithm
    weights = np.linspace(-1, 1, algorithm.layout.size, dtype=np.float32)
    state = algorithm.start(weights)
    after = algorithm.step(state, algorithm.zero(), 1)["weights"]
    assert algorithm.prunes or same_bits(after, state["weights"])
    assert set(after.tolist()) <= {*state["weights"].tolist(), 0.0}


def test_a_plan_is_a_function_of_state_round_and_client(name):
    made = experiment(name, **KEYS.get(name, {}))
    state = made.algorithm.start(made.weights)
    before = {key: array.copy() for key, array in state.items()}
    one = made.algorithm.plan(state, 2, 7)
    made.algorithm.plan(state, 3, 1)
    other = made.algorithm.plan(state, 2, 7)
    for field in fields(one):
        assert equal(getattr(one, field.name), getattr(other, field.name)), field.name
    assert all(np.array_equal(state[key], before[key]) for key in state)


class Seen(Simulation):
    """A simulation that notes what the clients of a round sent, and what was summed."""

    def _take_in(self, done, sums, sent):
        row, reason = super()._take_in(done, sums, sent)
        if row["status"] == COMPLETED:
            self.seen.append([part.support.mask() != 0 for part in done.arrival.parts.values()])
        return row, reason


def test_the_union_is_that_of_the_supports_of_all_messages(name):
    """As worked out from the messages themselves; and never below what a client sends."""
    run = Seen(experiment(name, **KEYS.get(name, {})), Serial(), Never())
    for _ in range(4):
        run.seen = []
        row = run.round()
        held = np.logical_or.reduce([mask for masks in run.seen for mask in masks])
        assert row.columns["density_union"] == pytest.approx(held.mean(), abs=1e-12)
        each = [np.logical_or.reduce(masks).mean() for masks in run.seen]
        assert row.columns["density_up"] == pytest.approx(np.mean(each), abs=1e-12)
        assert np.allclose(row.clients["kept"], each)


def test_capabilities_are_declared(name):
    """Who does not declare that clients remember, or have models of their own, has none."""
    run, _ = simulate(name, **KEYS.get(name, {}))
    if not run.algorithm.remembers:
        assert run.store.clients() == []
    if not run.algorithm.personal:
        assert all(run.algorithm.own(run.state, client) is None for client in range(12))


def test_a_method_that_remembers_must_say_so():
    class Forgetful(ALGORITHMS["fedavg"]):
        def remember(self, job, report, message, arrival):
            return {"x": np.ones(1)}

    run = Simulation(experiment("fedavg"), Serial(), Never())
    run.experiment.algorithm.__class__ = Forgetful
    with pytest.raises(FedmpiError, match=r"remember returned x, but .* `remembers = True`"):
        run.round()


def test_every_check_of_the_methods_is_a_test():
    """CHECKS.md says what each method must show; it names tests that are there."""
    table = (Path(__file__).parent / "CHECKS.md").read_text()
    wanted = set(re.findall(r"`(test_\w+)`", table))
    lines = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(lines) > 50 and all(re.search(r"`test_\w+` \|$", line) for line in lines)
    there = set()
    for path in Path(__file__).parents[1].glob("**/test_*.py"):
        there |= set(re.findall(r"def (test_\w+)\(", path.read_text()))
    assert wanted <= there, wanted - there


def equal(one, other):
    if isinstance(one, Support):
        return one.level == other.level and np.array_equal(one.keep, other.keep)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if hasattr(one, "__dataclass_fields__"):
        return all(equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def test_messages_or_work_really_shrink(name):
    if name in DENSE:
        pytest.skip(f"{name} prunes nothing")
    _, rows = simulate(name, **KEYS.get(name, {}))
    reference = fedavg(f"model.name={experiment(name).config.model.name}")[1]
    cost, dense = (
        [last.columns[c] for c in ("bytes_up", "bytes_down", "flops")]
        for last in (rows[-1], reference[-1])
    )
    if name == "scaffold":  # twice the bytes, by design
        assert cost[0] > 1.9 * dense[0] and cost[1] > 1.9 * dense[1]
    elif name == "adp-v1":  # gates are weights too, and cost little on real models only
        assert cost[0] > dense[0]
    else:
        assert min(c / d for c, d in zip(cost, dense, strict=True)) < 0.95


def test_what_a_client_may_train_and_what_it_must_not_move(name):
    made = experiment(name, **KEYS.get(name, {}))
    algorithm = made.algorithm
    state = algorithm.start(made.weights)
    job, report = trained(made, state, 1, 7)
    plan = job.plan
    moved = report.weights != (state["weights"] if plan.start is None else plan.start)
    assert moved.any() or plan.steps == 0
    if plan.update is not None:
        assert not moved[(plan.update == 0) & made.layout.trained].any()
    if plan.submodel is not None:
        mine = (plan.up.mask() == 0) & made.layout.trained
        if plan.labels is not None:  # rows of classes that a client lacks decay, and are not sent
            mine &= Support.of_rows(
                made.layout, [None] * (len(made.layout.layers) - 1) + [plan.labels]
            ).mask() != 0
        assert not moved[mine].any()
