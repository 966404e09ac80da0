"""Rounds that do not wait: late, lost and absent clients against numbers worked out here."""

from math import comb

import numpy as np
import pytest

from fedmpi.comm.base import Serial
from fedmpi.experiment import resolve
from fedmpi.experiment.earlier import Earlier
from fedmpi.experiment.estimate import estimate
from fedmpi.experiment.execute import Start, execute
from fedmpi.experiment.stop import NoSignals
from fedmpi.record import reader
from fedmpi.record.schema import CLIENT_STATUS
from tests.algorithms.problem import cohort_of, trained
from tests.cli.test_run import contents, equal
from tests.round.test_loop import TREE, simulation

UNRELIABLE = {
    "devices": {"profile": "tiers", "availability": 0.3, "dropout": 0.2},
    "schedule": {"mode": "deadline", "deadline_s": 0.207, "over_select": 1.5},
    "run": {"rounds": 8},
}


def words(row):
    return [CLIENT_STATUS[code] for code in row.clients["status"]]


def deadline(seconds, **more):
    return {"mode": "deadline", "deadline_s": seconds} | more


def test_three_clients_by_hand():
    """A softmax on 64 pixels: 4 * 640 FLOPs a sample, and as many bytes up as down."""
    link = {"down_mbit_s": 8.0, "latency_s": 0.25, "share": 1.0}
    tiers = [
        {"name": "fast", "gflop_s": 1.0, "up_mbit_s": 8.0} | link,
        {"name": "slow link", "gflop_s": 1.0, "up_mbit_s": 0.008} | link,
        {"name": "slow", "gflop_s": 0.0001, "up_mbit_s": 8.0} | link,
    ]
    run = simulation(
        data={"partition": "iid"},
        clients={"number": 3, "per_round": 3},
        devices={"profile": "tiers", "tiers": tiers},
        schedule=deadline(2.0),
    )
    row = run.round()
    order = np.argsort(run.experiment.devices.tier)
    fast, slow_link, slow = row.clients[order]
    message, flops = int(fast["bytes_down"]), 4 * 640 * int(fast["samples"])
    assert len(set(row.clients["samples"])) == len(set(row.clients["bytes_down"])) == 1
    assert [CLIENT_STATUS[one["status"]] for one in (fast, slow_link, slow)] == [
        "completed", "late", "late",
    ]  # fmt: skip
    down, compute = 0.25 + 8e-6 * message / 8, flops / 1e9
    assert fast["virtual_end"] == pytest.approx(down + compute + down)
    # 1,000 bytes a second, from when the download, training and the latency are over.
    through = int((2.0 - down - compute - 0.25) * 1000)
    assert 0 < through < message and slow_link["bytes_up"] == through
    assert slow_link["seconds_up"] == pytest.approx(2.0 - down - compute)
    assert slow["bytes_up"] == 0 and slow["seconds_compute"] == pytest.approx(2.0 - down)
    for late in (slow_link, slow):
        assert late["virtual_end"] == pytest.approx(2.0) and late["kept"] == 0
        assert late["flops"] == flops and late["bytes_down"] == message
    columns = row.columns
    assert columns["virtual_time"] == run.virtual_time == 2.0
    assert (columns["clients_selected"], columns["clients_completed"]) == (3, 1)
    assert columns["bytes_up"] == message + through and columns["flops"] == 3 * flops
    assert columns["density_up"] == 1.0 and columns["train_loss"] == fast["train_loss"]
    size = run.experiment.layout.size  # of late clients, layers count what they received alone
    assert row.layers["bytes_down"].sum() == 3 * 4 * size and row.layers["kept"].tolist() == [1.0]
    assert row.layers["bytes_up"].sum() == columns["bytes_up_values"] == 4 * size
    assert run.round().columns["virtual_time"] == 4.0


def test_the_step_is_the_mean_over_those_in_time():
    whole = simulation()
    seconds = np.sort(whole.round().clients["virtual_end"])
    run = simulation(schedule=deadline(float(seconds[1:3].mean())))
    experiment, start = run.experiment, run.state["weights"].copy()
    cohort = cohort_of(experiment, 0)
    row = run.round()
    assert sorted(words(row)) == ["completed"] * 2 + ["late"] * 2
    expected, total = np.zeros(start.size), 0.0
    for i in np.flatnonzero(row.clients["status"] == 0):
        client, share = int(cohort.clients[i]), float(cohort.shares[i])
        _, report = trained(experiment, {"weights": start}, 0, client, share=share)
        expected += share * report.weights.astype(np.float64)
        total += share
    np.testing.assert_allclose(run.state["weights"], expected / total, rtol=1e-6, atol=1e-8)
    assert np.abs(run.state["weights"] - expected).max() > 1e-3  # not over the whole cohort


def test_a_rule_of_selection_does_not_know_the_loss_of_a_late_client():
    """Its report never came; the rules that learn went by its loss."""
    seconds = np.sort(simulation().round().clients["virtual_end"])
    run = simulation(schedule=deadline(float(seconds[1:3].mean())),
                     clients={"selection": "power-of-choice"})  # fmt: skip
    row = run.round()
    done = row.clients["status"] == 0
    assert 0 < done.sum() < 4 and np.isfinite(row.clients["train_loss"]).all()
    known = np.flatnonzero(np.isfinite(run.experiment.selector.loss))
    assert known.tolist() == row.clients["client"][done].tolist()


def test_what_a_late_client_would_remember_is_forgotten():
    how = {"algorithm": {"name": "fedskel"}, "model": {"name": "mlp"}}
    seconds = np.sort(simulation(**how).round().clients["virtual_end"])
    run = simulation(**how, schedule=deadline(float(seconds[:2].mean())))
    row = run.round()
    done = row.clients["client"][row.clients["status"] == 0]
    assert len(done) == 1 and list(run.memories.clients()) == done.tolist()


@pytest.mark.parametrize("name", ["fedavg", "fedlp", "fedskel"])
def test_a_deadline_that_nobody_misses_changes_no_bit(name):
    how = {"algorithm": {"name": name}, "model": {"name": "mlp"}}
    plain, far = simulation(**how), simulation(**how, schedule=deadline(1e9))
    for _ in range(3):
        one, other = plain.round(), far.round()
        np.testing.assert_array_equal(one.clients, other.clients)
        assert one.columns.keys() == other.columns.keys()
        for key in one.columns:
            if "collective" not in key and key not in ("mpi_bytes", "memory_peak"):
                np.testing.assert_array_equal(one.columns[key], other.columns[key], key)
    np.testing.assert_array_equal(plain.state["weights"], far.state["weights"])


def test_a_dropped_client_is_not_trained_and_the_others_are_as_if_it_were_not_there():
    run = simulation(devices={"dropout": 0.5})
    trains, started = run.experiment.engine.train, []

    def train(jobs):
        for report in trains(jobs):
            started.append(report.client)
            yield report

    run.experiment.engine.train = train
    row = run.round()
    lost = row.clients["status"] == CLIENT_STATUS.index("dropped")
    assert 0 < lost.sum() < 4 and set(words(row)) == {"dropped", "completed"}
    assert started == row.clients["client"][~lost].tolist()
    np.testing.assert_array_equal(lost, cohort_of(run.experiment, 0).silent)
    dropped = row.clients[lost]
    for column in ("bytes_up", "flops", "steps", "kept", "seconds_up", "seconds_compute"):
        assert not dropped[column].any(), column
    assert (dropped["bytes_down"] > 0).all() and np.isnan(dropped["train_loss"]).all()
    assert (dropped["virtual_end"] == dropped["seconds_down"]).all()
    whole = simulation().round()
    np.testing.assert_array_equal(whole.clients[~lost], row.clients[~lost])
    assert row.columns["virtual_time"] == row.clients["virtual_end"].max()
    assert row.columns["density_up"] == 1.0 and row.columns["clients_completed"] == (~lost).sum()
    assert row.layers["bytes_down"].sum() == 4 * 4 * run.experiment.layout.size
    waits = simulation(devices={"dropout": 0.5}, schedule=deadline(1e6)).round()
    assert waits.columns["virtual_time"] == 1e6 and words(waits) == words(row)


def test_a_round_that_nobody_completes_is_recorded_and_moves_nothing():
    run = simulation(
        schedule=deadline(1e-3), server={"optimizer": "sgd", "lr": 1.0, "momentum": 0.9}
    )
    start = run.state["weights"].copy()
    row = run.round()
    assert words(row) == ["late"] * 4 and row.columns["clients_completed"] == 0
    assert row.columns["virtual_time"] == 1e-3 and row.columns["bytes_up"] == 0
    assert np.isfinite(row.columns["test_accuracy"]) and np.isnan(row.columns["train_loss"])
    np.testing.assert_array_equal(run.state["weights"], start)
    assert run.round().columns["round"] == 1


def test_a_late_client_is_not_a_rejected_one():
    run = simulation(schedule=deadline(1e-3), clients={"max_rejected": 0.0})
    assert words(run.round()) == ["late"] * 4


def test_rounds_in_which_nobody_is_there_go_by():
    run = simulation(devices={"availability": 1e-12})
    start = run.state["weights"].copy()
    for round in range(3):
        row = run.round()
        assert len(row.clients) == 0 and row.columns["round"] == round
        assert row.columns["clients_selected"] == 0 and row.columns["virtual_time"] == 0.0
        assert np.isfinite(row.columns["test_accuracy"])
    np.testing.assert_array_equal(run.state["weights"], start)


def test_clients_without_samples_take_no_part():
    uneven = {"partition": "dirichlet", "alpha": 0.01, "min_samples": 0}
    run = simulation(data=uneven, clients={"number": 60, "per_round": 60})
    holders = np.flatnonzero(run.experiment.sizes)
    assert len(holders) < 60 and run.round().clients["client"].tolist() == holders.tolist()


def test_only_who_is_there_is_selected_and_fewer_than_asked_if_need_be():
    run = simulation(devices={"availability": 0.3}, schedule={"over_select": 1.5})
    sizes, rounds = [], 500
    for round in range(rounds):
        cohort = cohort_of(run.experiment, round)
        sizes.append(len(cohort.clients))
        assert len(cohort.clients) == 0 or cohort.shares.sum() == pytest.approx(1)
    # Of 9 clients those there are Binomial(9, 0.3), and at most 6 are asked.
    chances = [comb(9, k) * 0.3**k * 0.7 ** (9 - k) for k in range(10)]
    asked = np.minimum(np.arange(10), 6)
    mean = asked @ chances
    spread = np.sqrt(asked**2 @ chances - mean**2)
    assert max(sizes) == 6 and min(sizes) == 0
    assert np.mean(sizes) == pytest.approx(mean, abs=4 * spread / np.sqrt(rounds))


def test_the_estimate_is_the_first_round():
    devices = {"profile": "tiers", "dropout": 0.3}
    sections = {"devices": devices, "schedule": deadline(0.15, over_select=2.0)}
    costs, row = estimate(resolve.of_tree(TREE | sections), None), simulation(**sections).round()
    assert set(words(row)) == {"completed", "late", "dropped"}
    for column in ("bytes_down", "bytes_up", "flops"):
        assert costs[column] == row.columns[column], column
    assert (costs["late"], costs["dropped"]) == tuple(map(words(row).count, ("late", "dropped")))
    assert costs["virtual_seconds"] == row.columns["virtual_time"]


def run_file(out, stop_after=None, **how):
    """Run UNRELIABLE in this process, or break off as if killed after `stop_after` rounds."""
    tree = TREE | UNRELIABLE | {"algorithm": {"name": "fedskel"}, "model": {"name": "mlp"}}
    tree["run"] = TREE["run"] | {"rounds": 8, "checkpoint_every": 3, "checkpoint_share": 1.0}
    resolved = resolve.of_tree(tree)
    if how.get("resume"):
        with reader.open(out) as old:
            resolved = Earlier(old.toml, old.config).resolved(str(out))

    def progress(row, rounds):
        if row.columns["round"] + 1 == stop_after:
            raise KeyboardInterrupt

    execute(resolved, Serial(), Start(out=out, **how), progress, NoSignals())
    return out


def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path):
    whole, broken = run_file(tmp_path / "whole.h5"), tmp_path / "broken.h5"
    for stop_after in (5, 7):
        with pytest.raises(KeyboardInterrupt):
            run_file(broken, stop_after, resume=broken.exists())
    run_file(broken, resume=True)
    equal(contents(whole), contents(broken))
    with reader.open(whole) as run:
        assert set(run.clients.status) == {0, 1, 2}  # completed, late, dropped
        assert "availability" in run.devices and set(run.devices["dropout"]) == {0.2}


@pytest.mark.parametrize(("seconds", "said"), [(1e-3, 1), (10.0, 0)])
def test_a_run_in_which_every_client_is_late_says_so(tmp_path, seconds, said):
    tree = TREE | {"run": {"rounds": 2}, "schedule": deadline(seconds)}
    heard, out = [], tmp_path / "out.h5"
    start = Start(out=out, warn=heard.append)
    execute(resolve.of_tree(tree), Serial(), start, lambda row, rounds: None, NoSignals())
    with reader.open(out) as run:
        assert [event["text"] for event in run.events] == heard and len(heard) == said
        assert (run.rounds.clients_completed.sum() == 0) == bool(said)
