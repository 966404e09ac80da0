"""The rules of the round loop that every registered algorithm must keep."""

import re
from pathlib import Path

import numpy as np
import pytest

from fedmpi.algorithms import ALGORITHMS
from fedmpi.comm.base import Serial
from fedmpi.errors import FedmpiError
from fedmpi.experiment import contract
from fedmpi.experiment.stop import NoSignals
from fedmpi.layout import Support
from fedmpi.round.loop import Simulation
from fedmpi.round.status import COMPLETED
from tests.algorithms.problem import experiment, fedavg, simulate, trained

# Keys under which a method shows its purpose within four rounds.
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
    "fedrolex-complete": {"widths": [1.0, 0.5]},
    "fiarse": {"shares": [0.5, 0.25]},
    "fedmef": {"every": 2, "until": 1.0},
    "fedmp": {"ratios": [0.5, 0.25]},
    "fedrts": {"every": 2, "until": 1.0},
    "fedsgc": {"every": 2, "until": 1.0},
    "fedtiny": {"candidates": 2, "every": 1, "until": 1.0},
    "flash": {"sparsity": 0.8, "warmup": 3, "every": 2, "shares": [1.0, 0.5]},
    "sparsyfed": {"sparsity": 0.7},
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


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_a_method_keeps_the_contract(name, check):
    assert not check(lambda: experiment(name, **KEYS.get(name, {})))


class Seen(Simulation):
    """A simulation that records the messages of a round's clients, and the sums."""

    def _take_in(self, done, sums, sent, cohort):
        row, reason = super()._take_in(done, sums, sent, cohort)
        if row["status"] == COMPLETED:
            self.seen.append([part.support.mask() != 0 for part in done.arrival.parts.values()])
        return row, reason


def test_the_union_is_that_of_the_supports_of_all_messages(name):
    """It is worked out from the messages themselves; and it is at least each client's share."""
    run = Seen(experiment(name, **KEYS.get(name, {})), Serial(), NoSignals())
    for _ in range(4):
        run.seen = []
        row = run.round()
        held = np.logical_or.reduce([mask for masks in run.seen for mask in masks])
        assert row.columns["density_union"] == pytest.approx(held.mean(), abs=1e-12)
        each = [np.logical_or.reduce(masks).mean() for masks in run.seen]
        assert row.columns["density_up"] == pytest.approx(np.mean(each), abs=1e-12)
        assert np.allclose(row.clients["kept"], each)


def test_capabilities_are_declared(name):
    """A method that does not declare client memories or clients' own models has none."""
    run, _ = simulate(name, **KEYS.get(name, {}))
    if not run.algorithm.remembers:
        assert run.memories.clients() == []
    if not run.algorithm.personal:
        assert all(run.algorithm.own(run.state, client) is None for client in range(12))


def test_a_method_that_remembers_must_say_so():
    class Forgetful(ALGORITHMS["fedavg"]):
        def remember(self, job, report, message, arrival):
            return {"x": np.ones(1)}

    run = Simulation(experiment("fedavg"), Serial(), NoSignals())
    run.experiment.algorithm.__class__ = Forgetful
    message = r"Forgetful\.remember returned x, but .* `remembers = True`"
    with pytest.raises(FedmpiError, match=message):
        run.round()


def test_every_check_of_the_methods_is_a_test():
    """CHECKS.md lists what each method must show, and names tests that exist."""
    table = (Path(__file__).parent / "CHECKS.md").read_text()
    wanted = set(re.findall(r"`(test_\w+)`", table))
    lines = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(lines) > 50 and all(re.search(r"`test_\w+` \|$", line) for line in lines)
    there = set()
    for path in Path(__file__).parents[1].glob("**/test_*.py"):
        there |= set(re.findall(r"def (test_\w+)\(", path.read_text()))
    assert wanted <= there, wanted - there


def test_messages_or_work_really_shrink(name):
    if name in DENSE:
        pytest.skip(f"{name} prunes nothing")
    _, rows = simulate(name, **KEYS.get(name, {}))
    made = experiment(name, **KEYS.get(name, {}))
    reference = fedavg(f"model.name={made.config.model.name}")[1]
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
        free = plan.update | report.statistics.get("mask", np.uint8(0))  # where the mask moved
        assert not moved[(free == 0) & made.layout.trained].any()
    if plan.submodel is not None:
        mine = (plan.up.mask() == 0) & made.layout.trained
        if plan.labels is not None:  # rows of classes that a client lacks decay, and are not sent
            mine &= Support.of_rows(
                made.layout, [None] * (len(made.layout.layers) - 1) + [plan.labels]
            ).mask() != 0
        assert not moved[mine].any()
