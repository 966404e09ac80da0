"""FedSkel against its closed forms: what a skeleton trains, sends, costs and keeps."""

import numpy as np
import pytest

from fedmpi import flops
from fedmpi.algorithms.fedskel import FedSkel
from fedmpi.exchange import Job, Report
from fedmpi.layout import Support
from fedmpi.learn.statistics import Statistics
from fedmpi.plan import FULL, Backward, Plan
from fedmpi.round.memories import ClientStore
from fedmpi.setting import Setting
from tests.algorithms.by_hand import arrival_of
from tests.algorithms.problem import experiment, simulate, trained, weights_of
from tests.models import TINY, WEIGHTS


def setting(layout=TINY, clients=4, speed=None):
    return Setting(
        layout=layout, seed=1, rounds=9, clients=clients, exact=True,
        speed=np.ones(clients) if speed is None else np.array(speed), memory=Memories(),
    )  # fmt: skip


def fedskel(layout=TINY, speed=None, **keys):
    return FedSkel(FedSkel.Keys(**keys), setting(layout, speed=speed))


def report_of(weights, client=0, **statistics):
    return Report(client, 1, 1, 1, 0.0, weights, statistics=statistics)


def job_of(algorithm, state, round, client=0):
    return Job(client, round, state, algorithm.plan(state, round, client), 1.0)


def after_set(algorithm, state, scores, client=0, weights=WEIGHTS, store=None):
    """Let a client do its first round, with given scores; keep its memory."""
    job = job_of(algorithm, state, 0, client)
    plan = job.plan
    assert plan.backward.whole and plan.down.whole and plan.up.whole
    report = report_of(weights, client, activations=scores)
    memory = algorithm.remember(job, report, {}, None)
    keep(store or algorithm.setting.memory.store, client, memory)
    return memory


def keep(store, client, memory):
    """Let a client have this memory."""
    store.prepare(client, memory)
    store.commit()


class Memories:
    """A store, and the function of a Setting that reads it."""

    def __init__(self):
        self.store = ClientStore()

    def __call__(self, client):
        return self.store[client]


@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_a_skeleton_has_all_rows_but_the_dropped_share_rounded_down(ratio):
    made = experiment("fedskel", ratio=ratio)
    algorithm, layout = made.algorithm, made.layout
    scores = [np.arange(layer.rows, dtype=float) for layer in layout.layers]
    state = {"weights": made.weights}
    memory = after_set(algorithm, state, scores, weights=made.weights, store=made.memories)
    rows = algorithm.skeletons.split(memory["skeleton"])
    assert rows[-1] is None  # the last layer is never cut
    for layer, keep in list(zip(layout.layers, rows, strict=True))[:-1]:
        dropped = int((1 - ratio) * layer.rows + 1e-9)
        assert keep.sum() == layer.rows - dropped
        assert not keep[:dropped].any()  # those of the lowest scores


def test_three_numbers_by_hand():
    """Layer a of TINY keeps row 1; the server's a[1] comes in, the client's a[0] stays its own."""
    algorithm = fedskel(ratio=0.5)
    trained = WEIGHTS + 1
    after_set(algorithm, {"weights": WEIGHTS}, [np.array([1.0, 2.0]), np.zeros(3)], weights=trained)
    server = WEIGHTS * 2
    plan = algorithm.plan({"weights": server}, 1, 0)
    assert [None if r is None else r.tolist() for r in plan.backward.rows] == [[False, True], None]
    own = [0, 1, 2, 6]  # weights and bias of row 0
    assert np.array_equal(plan.start[own], trained[own])
    assert np.array_equal(np.delete(plan.start, own), np.delete(server, own))
    assert np.flatnonzero(plan.up.mask() == 0).tolist() == own and plan.up == plan.down


def test_a_filter_is_the_mean_of_those_who_sent_it_and_stays_if_nobody_did():
    algorithm, sums = fedskel(), fedskel().zero()
    one, two = WEIGHTS + 1, WEIGHTS + 3
    for values, share, kept in ((one, 0.25, [True, False]), (two, 0.75, [True, False])):
        up = Support.of_rows(TINY, (np.array(kept), None))
        algorithm.add(sums, arrival_of(values, up, share))
    new = algorithm.step({"weights": WEIGHTS}, sums, 1)["weights"]
    np.testing.assert_allclose(new[[0, 1, 2, 6]], (WEIGHTS + 2.5)[[0, 1, 2, 6]], rtol=1e-6)
    assert np.array_equal(new[[3, 4, 5, 7]], WEIGHTS[[3, 4, 5, 7]])
    sums = algorithm.zero()
    up = Support.of_rows(TINY, (np.array([False, True]), None))
    algorithm.add(sums, arrival_of(one, up, 0.3))
    new = algorithm.step({"weights": WEIGHTS}, sums, 1)["weights"]
    assert np.array_equal(new[[3, 4, 5, 7]], one[[3, 4, 5, 7]])


@pytest.mark.parametrize("settings", [(), ("optimizer.name=adam", "optimizer.momentum=0.0")])
def test_dropped_filters_do_not_move_at_all(settings):
    """With weight decay and momentum, which would move them; normalisation is tied to its row."""
    made = experiment("fedskel", settings, ratio=0.5, updates_per_set=9)
    algorithm, store = made.algorithm, made.memories
    state = {"weights": made.weights}
    for round in range(2):
        job, report = trained(made, state, round, 3)
        store.prepare(3, algorithm.remember(job, report, {}, None))
        store.commit()
    plan = job.plan
    dropped = plan.up.mask() == 0
    assert dropped.sum() > 100 and np.array_equal(report.weights[dropped], plan.start[dropped])
    names = {t.name for t in made.layout.tensors if dropped[t.start : t.start + t.size].any()}
    assert {"bn1.weight", "bn1.running_mean", "conv1.bias", "fc1.weight"} <= names
    assert (report.weights != plan.start)[~dropped].mean() > 0.9


def test_the_first_round_of_a_client_is_whole_whatever_the_cycle():
    for cycle in ("client", "global"):
        algorithm = fedskel(cycle=cycle)
        assert algorithm.plan({"weights": WEIGHTS}, 2, 0).backward.whole


@pytest.mark.parametrize(
    ("cycle", "expected"), [("client", [1, 0, 0, 1, 0, 0, 1]), ("global", [1, 1, 0, 0, 1, 0, 0])]
)
def test_set_rounds_come_around(cycle, expected):
    """The client first joins in round 2; globally, rounds 0, 3, 6 are SetSkel rounds."""
    algorithm = fedskel(cycle=cycle, updates_per_set=2, ratio=0.5)
    found = []
    for round in range(2, 9):
        job = job_of(algorithm, {"weights": WEIGHTS}, round)
        found.append(int(job.plan.backward.whole))
        assert algorithm.load(round, 0) == pytest.approx(1.0 if found[-1] else 2 / 3)
        report = report_of(WEIGHTS, activations=[np.arange(2.0), np.arange(3.0)])
        memory = algorithm.remember(job, report, {}, None)
        keep(algorithm.setting.memory.store, 0, memory)
    assert found == expected


def test_bytes_and_work_follow_the_closed_form():
    """Exchanged: C_out r (C_in k^2 + 1); forward whole; both gradients times r."""
    made = experiment("fedskel", ratio=0.5, layers="conv")
    layout = made.layout
    scores = [np.arange(layer.rows, dtype=float) for layer in layout.layers]
    state = {"weights": made.weights}
    after_set(made.algorithm, state, scores, weights=made.weights, store=made.memories)
    plan = made.algorithm.plan({"weights": made.weights}, 1, 0)
    # conv1: 4 (9 + 1) and 4 of each of 4 normalisation arrays; conv2: 6 (36 + 1)
    assert plan.up.layer_counts.tolist() == [2 * (9 + 1 + 4), 3 * (36 + 1), 8 * 7, 10 * 9]
    dense, found = flops.count(layout), flops.of_plan(layout, plan, 1)
    assert np.array_equal(found[:, flops.FORWARD], dense[:, flops.FORWARD])
    np.testing.assert_allclose(found[:2, 1:], dense[:2, 1:] / 2)
    assert np.array_equal(found[2:], dense[2:])
    whole = flops.of_plan(layout, Plan(plan.up, plan.up, backward=Backward((None,) * 4)), 1)
    assert np.array_equal(whole, dense)


def test_the_ratio_may_follow_the_device():
    algorithm = fedskel(speed=[1.0, 0.5, 0.01, 0.3], ratio="speed", least=0.1)
    assert [algorithm.ratio_of(client) for client in range(4)] == [1.0, 0.5, 0.1, 0.3]


def test_the_order_of_the_samples_does_not_change_the_skeleton():
    made = experiment("fedskel", ratio=0.5)
    x, y = made.engine.data.samples.take(np.arange(40))
    weights = made.weights.copy()
    found = []
    for order in (np.arange(40), np.arange(40)[::-1]):
        sums = [np.zeros(layer.rows) for layer in made.layout.layers]
        for batch in np.split(order, 5):
            gradients = made.engine.gradients
            gradients.gradient(weights.copy(), x[batch], y[batch], gradients.grad, FULL, sums)
        choice = made.algorithm._choose(report_of(weights, activations=sums), 1)
        found.append(choice.tolist())
    assert found[0] == found[1]


def test_scores_differ_and_the_random_one_is_the_clients_own():
    report = report_of(
        WEIGHTS, activations=[np.array([2.0, 1.0]), np.zeros(3)],
        relevance=[np.array([-1.0, -3.0]), np.zeros(3)],
    )  # fmt: skip
    kept = {
        score: fedskel(ratio=0.5, score=score)._choose(report, 1)[:2].tolist()
        for score in ("activation", "relevance")
    }
    assert kept == {"activation": [True, False], "relevance": [False, True]}
    made = experiment("fedskel", ratio=0.5, score="random").algorithm
    draws = {
        tuple(made._choose(report_of(WEIGHTS, client), 1)) for client in range(9)
    }
    assert len(draws) > 3


def test_the_released_server_mixes_in_stale_filters():
    algorithm = fedskel(ratio=0.5, variant="released")
    after_set(algorithm, {"weights": WEIGHTS}, [np.array([1.0, 2.0]), np.zeros(3)])
    plan = algorithm.plan({"weights": WEIGHTS}, 1, 0)
    assert plan.up.whole and not plan.down.whole
    paper, released = (
        weights_of(simulate("fedskel", updates_per_set=1, variant=variant)[0])
        for variant in ("paper", "released")
    )
    assert not np.array_equal(paper, released)


def test_the_relevance_of_a_filter_is_how_much_the_loss_rises_without_it():
    """First order: -z dL/dz summed over positions, against finite differences on a real network."""
    made = experiment("fedskel", score="relevance")
    plan = made.algorithm.plan({"weights": made.weights}, 0, 3)
    assert plan.statistics == ("relevance",)
    x, y = made.engine.data.samples.take(made.engine.data.partition.of(3)[:8])
    weights, grad = made.weights.copy(), np.zeros_like(made.weights)
    statistics = Statistics(made.layout, ("relevance",))
    made.engine.gradients.gradient(weights, x, y, grad)
    statistics.see(made.weights, grad, len(y))
    found = statistics.result()["relevance"][1]  # conv2, which has no normalisation
    for row in range(made.layout.layers[1].rows):
        losses = []
        for scale in (1.01, 0.99):
            changed = made.weights.copy()
            for t in made.layout.layer_tensors[1]:
                tensor = made.layout.tensors[t]
                block = changed[tensor.start : tensor.start + tensor.size]
                block.reshape(tensor.rows, -1)[row] *= scale
            losses.append(made.engine.gradients.gradient(changed, x, y, grad))
        assert found[row] == pytest.approx(-8 * (losses[0] - losses[1]) / 0.02, abs=2e-3)
