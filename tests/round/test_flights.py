"""Asynchronous rounds: the order of reports, by hand and by a slower algorithm."""

import copy

import numpy as np
import pytest

import fedmpi
from fedmpi.comm.base import Serial
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import of_tree
from fedmpi.experiment.stop import NoSignals
from fedmpi.round.buffered import FLIGHT, advance
from fedmpi.round.loop import Simulation
from fedmpi.round.status import COMPLETED, DROPPED, LATE, REJECTED
from tests.algorithms.problem import trained

TREE = {
    "run": {"rounds": 8, "seed": 5}, "data": {"partition": "quantity"},
    "clients": {"number": 12, "per_round": 5, "batch_size": 16},
    "model": {"name": "softmax"}, "devices": {"profile": "tiers"},
    "schedule": {"mode": "async", "buffer_size": 2},
}


class Halved(fedmpi.Algorithm):
    """Plans whole models, and sends every second coordinate of them."""

    level, fill = "coordinate", "old"

    def plan(self, state, round, client):
        return fedmpi.Plan(*2 * [fedmpi.Support.all(self.layout)])

    def message(self, job, report):
        keep = (np.arange(self.layout.size) % 2 == 0).astype(np.uint8)
        half = fedmpi.Support(self.layout, "coordinate", keep)
        return {"weights": fedmpi.Part(report.weights, half)}


def simulation(**sections):
    tree = {name: dict(section) for name, section in TREE.items()}
    for name, section in sections.items():
        tree[name] = section if isinstance(section, list) else tree.get(name, {}) | section
    return Simulation(assemble(of_tree(tree), Serial(), None), Serial(), NoSignals())


def flights(rows):
    """FLIGHT[n] of (client, start, seconds) rows."""
    table = np.zeros(len(rows), FLIGHT)
    for place, (client, start, seconds) in zip(table, rows, strict=True):
        place["client"], place["start"], place["compute"] = client, start, seconds
    return table


def naive_fly(flying, fresh, slots, count, now):
    """Find the same events by looking at every client each time."""
    work = [(float(row["start"] + row["compute"]), int(row["client"])) for row in flying]
    waiting = [(float(row["compute"]), int(row["client"])) for row in fresh]
    lost = {int(row["client"]) for rows in (flying, fresh) for row in rows if row["lost"]}
    ended = []
    while len(set(ended) - lost) < count:
        while len(work) < slots and waiting:
            seconds, client = waiting.pop(0)
            work.append((now + seconds, client))
        if not work:
            break
        work.sort()
        now, client = work.pop(0)
        ended.append(client)
    return ended, {client for _, client in work}, now


def test_three_places_and_two_reports_by_hand():
    """7 and 8 are at work until 4.0 and 9.0; 1 begins at 2.0, and 2 when 1 has reported at 3.5."""
    flying, fresh = flights([(7, 1, 3), (8, 0, 9)]), flights([(1, 0, 1.5), (2, 0, 1)])
    ended, left, end = advance(flying, fresh, 3, 2, 2.0)
    assert ended["client"].tolist() == [1, 7] and end == 4.0
    assert left["client"].tolist() == [8, 2] and left["start"].tolist() == [0.0, 3.5]


def test_a_fast_client_can_begin_and_report_within_a_round():
    ended, left, end = advance(flights([]), flights([(1, 0, 5), (2, 0, 1), (3, 0, 1)]), 2, 2, 10.0)
    assert ended["client"].tolist() == [2, 3] and end == 12.0
    assert ended["start"].tolist() == [10.0, 11.0] and left["client"].tolist() == [1]


def test_nobody_left_ends_the_round_early():
    ended, left, end = advance(flights([]), flights([(4, 0, 2)]), 3, 2, 1.0)
    assert ended["client"].tolist() == [4] and not len(left) and end == 3.0
    ended, left, end = advance(flights([]), flights([]), 3, 2, 1.0)
    assert not len(ended) and not len(left) and end == 1.0


@pytest.mark.parametrize("ties", [False, True])
def test_events_are_those_of_the_naive_twin(rng, ties):
    for _ in range(200):
        slots, count, now = int(rng.integers(1, 7)), int(rng.integers(1, 5)), 3.0
        clients = rng.permutation(40)
        seconds = rng.integers(1, 4, 40).astype(float) if ties else rng.random(40) * 9
        flying = flights([(c, now - 0.25, s + 0.5) for c, s in zip(clients[: slots - 1], seconds)])
        fresh = flights([(c, 0, s) for c, s in zip(clients[20 : 22 + count], seconds[20:])])
        for table in (flying, fresh):
            table["lost"] = rng.random(len(table)) < 0.3
        ended, left, end = advance(flying, fresh, slots, count, now)
        want = naive_fly(flying, fresh, slots, count, now)
        assert (ended["client"].tolist(), set(left["client"].tolist()), end) == want


@pytest.mark.parametrize("method", [{"name": "fedavg"}, {"name": "topk", "share": 1.0}])
def test_a_step_moves_by_the_changes_of_the_clients_weighed_by_staleness(method):
    """Against training from the weights of the version; messages hold weights, or changes."""
    run, versions = simulation(clients={"weighting": "uniform"}, algorithm=method), {}
    for round in range(8):
        versions[round], before = run.state["weights"].copy(), run.state["weights"]
        began = dict(zip(run.cohorts._flying["client"], run.cohorts._flying["version"]))
        row = run.round()
        expected = np.zeros(before.size)
        for client in row.clients["client"].tolist():
            version = int(began.get(client, round))
            _, report = trained(run.experiment, {"weights": versions[version]}, version, client)
            change = np.float32((1.0 + round - version) ** -0.5)
            sent = before + change * (report.weights - versions[version])
            sent = report.weights if version == round else sent
            expected += 0.5 * sent.astype(np.float64)
        np.testing.assert_allclose(run.state["weights"], expected, rtol=0, atol=1e-7)
    assert any(version < round for version in began.values())


def test_five_are_at_work_at_any_time_and_two_report_in_a_round():
    run = simulation()
    busy, end = [], 0.0
    for _ in range(8):
        row = run.round()
        assert len(row.clients) == 2 and len(run.cohorts._flying) == 4
        assert set(run.cohorts._states) == set(run.cohorts._flying["version"])
        assert row.columns["virtual_time"] == row.clients["virtual_end"].max() >= end
        end = row.columns["virtual_time"]
        busy += list(zip(row.clients["virtual_start"], row.clients["virtual_end"], strict=True))
    for moment in np.linspace(0, 0.9 * end, 50):
        at_work = sum(a <= moment < b for a, b in busy)
        assert at_work <= 5


def test_one_client_at_a_time_is_a_synchronous_run():
    alone = {"clients": {"per_round": 1}, "schedule": {"mode": "async", "buffer_size": 1}}
    one = simulation(**alone)
    other = simulation(clients={"per_round": 1}, schedule={"mode": "sync", "buffer_size": None})
    for _ in range(5):
        rows = one.round(), other.round()
        assert rows[0].clients["client"].tolist() == rows[1].clients["client"].tolist()
        assert one.virtual_time == other.virtual_time
    np.testing.assert_array_equal(one.state["weights"], other.state["weights"])


def test_the_clock_counts_the_bytes_of_an_own_message_that_is_not_the_planned_one():
    run = simulation(algorithm={"name": f"{__name__}:Halved"})
    rows = np.concatenate([run.round().clients for _ in range(4)])
    devices = run.experiment.devices
    size, rate = 8e-6 * rows["bytes_up"], devices.up_mbit_s[rows["client"]]
    expected = devices.latency_s[rows["client"]] + size / rate
    np.testing.assert_allclose(rows["seconds_up"], expected, rtol=1e-12)
    assert (rows["bytes_up"] < 0.6 * rows["bytes_down"]).all()


def test_who_would_be_too_stale_is_called_off():
    devices = {"idle_w": 2.0, "power_w": 4.0, "joule_per_mb": 3.0, "jitter": 2.0}
    run = simulation(schedule={"max_staleness": 1}, run={"rounds": 20}, devices=devices)
    receiving = 0
    for round in range(20):
        before = dict(zip(run.cohorts._flying["client"], run.cohorts._flying["version"]))
        row = run.round()
        for client, status in zip(row.clients["client"], row.clients["status"], strict=True):
            assert (status == LATE) == (round - before.get(client, round) > 1)
        off = row.clients[row.clients["status"] == LATE]
        assert not off["seconds_compute"].any() and not off["seconds_up"].any()
        ends = off["virtual_start"] + off["seconds_down"] - off["virtual_end"]
        assert (ends < 1e-9).all() and row.columns["clients_completed"] == 2
        receiving += (ends > -1e-9).sum()
        moved = row.clients["bytes_down"] + row.clients["bytes_up"]
        idle = row.clients["seconds_down"] + row.clients["seconds_up"]
        joules = 4.0 * row.clients["seconds_compute"] + 2.0 * idle + 3e-6 * moved
        np.testing.assert_allclose(row.clients["joules"], joules)
    assert receiving


def test_a_stale_change_that_makes_too_large_a_weight_gets_its_client_rejected():
    """The message fits the sum, but its effect on the present weights does not."""
    run = simulation(clients={"max_rejected": 1.0})
    run.round()
    run.state = {"weights": run.state["weights"] + np.float32(2**18)}
    stale = set(run.cohorts._flying["client"].tolist())
    row = run.round()
    found = [c in stale for c in row.clients["client"].tolist()]
    assert any(found)
    assert (row.clients["status"] == REJECTED)[found].all()


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("scaffold", {}),
        ("topk", {"share": 0.1}),
        ("adp-v2", {}),
        ("fedrts", {"every": 1, "until": 1.0}),
        ("fedtiny", {"candidates": 1, "every": 1, "until": 1.0, "layers": "all"}),
        ("prunefl", {"every": 2}),
        ("prunefl", {"every": 2, "variant": "authors"}),
        ("skeletonization", {"criterion": 10.0}),
        ("static-mask", {"mask": "grasp"}),
    ],
)
def test_a_method_whose_messages_are_known_after_training_flies_by_predicted_bytes(name, keys):
    """Alone at work it is a synchronous run; its clock is exact where the size is."""
    method = {"name": name} | keys
    alone = {"clients": {"per_round": 1}, "algorithm": method, "model": {"name": "mlp"}}
    one = simulation(**alone, schedule={"mode": "async", "buffer_size": 1})
    other = simulation(**alone, schedule={"mode": "sync", "buffer_size": None})
    for _ in range(4):
        rows = one.round(), other.round()
        for column in ("client", "bytes_up", "train_loss"):
            np.testing.assert_array_equal(rows[0].clients[column], rows[1].clients[column])
        predicted, measured = (row.clients["seconds_compute"] for row in rows)
        np.testing.assert_allclose(predicted, measured, rtol=1e-6)
        slower, exact = (row.clients["seconds_up"] for row in rows)
        np.testing.assert_allclose(slower, exact, rtol=0 if name == "scaffold" else 0.02)
    np.testing.assert_array_equal(one.state["weights"], other.state["weights"])


def test_stages_that_change_the_size_of_messages_fly_too():
    clip, quantise = {"name": "clip", "norm": 9.0}, {"name": "quantise", "bits": 4}
    run = simulation(stage=[clip, {"name": "topk", "share": 0.1}, quantise])
    whole = simulation()
    for _ in range(4):
        rows = run.round(), whole.round()
        sent, all_sent = (row.clients["bytes_up"].mean() for row in rows)
        assert sent < 0.1 * all_sent
    assert run.virtual_time < whole.virtual_time


def test_who_is_lost_frees_its_place_and_does_not_count():
    run = simulation(devices={"dropout": 0.4}, run={"rounds": 12})
    lost = 0
    for _ in range(12):
        rows = run.round().clients
        gone = rows["status"] == DROPPED
        assert (rows["status"] == COMPLETED).sum() == 2 and len(run.cohorts._flying) <= 4
        assert (rows["bytes_down"][gone] > 0).all() and not rows["bytes_up"][gone].any()
        ends = rows["virtual_start"] + rows["seconds_down"]
        np.testing.assert_array_equal(rows["virtual_end"][gone], ends[gone])
        lost += gone.sum()
    assert lost > 3


def test_a_checkpoint_holds_who_is_in_flight_and_what_they_began_from():
    run, again = (simulation(devices={"dropout": 0.3}) for _ in range(2))
    for _ in range(4):
        run.round()
    again.restore(copy.deepcopy(run.arrays()))
    again.next_round, again.virtual_time = run.next_round, run.virtual_time
    for _ in range(4):
        row, same = run.round(), again.round()
        for name in row.clients.dtype.names:
            np.testing.assert_array_equal(row.clients[name], same.clients[name])
    np.testing.assert_array_equal(run.state["weights"], again.state["weights"])
