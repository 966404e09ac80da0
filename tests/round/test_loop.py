"""The round loop against numbers that can be worked out beside it."""

import numpy as np
import pytest

from fedmpi.algorithms.fedavg import FedAvg
from fedmpi.comm import codec
from fedmpi.comm.base import Serial
from fedmpi.errors import ConfigError, FedmpiError
from fedmpi.exchange import Job
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import of_tree
from fedmpi.experiment.stop import NoSignals
from fedmpi.layout import Support
from fedmpi.record.schema import CLIENT_STATUS
from fedmpi.round import columns, rejections
from fedmpi.round.loop import Simulation
from fedmpi.round.visit import Visit
from tests.algorithms.problem import cohort_of, trained

TREE = {
    "run": {"rounds": 3, "seed": 5, "trainer": "torch"},
    "data": {"partition": "quantity"},
    "clients": {"number": 9, "per_round": 4, "batch_size": 16},
    "model": {"name": "softmax"},
    "devices": {"profile": "tiers"},
}


def simulation(stop=None, **sections):
    tree = {name: dict(section) for name, section in TREE.items()}
    for name, section in sections.items():
        tree.setdefault(name, {}).update(section)
    return Simulation(assemble(of_tree(tree), Serial(), None), Serial(), stop or NoSignals())


def mean_of_clients(run, sent_as=np.float32):
    """The mean of round 0, of clients trained one by one, in values of the type they send."""
    experiment, start = run.experiment, run.state["weights"].copy()
    cohort = cohort_of(experiment, 0)
    mean = np.zeros(start.size)
    for client, share in zip(cohort.clients, cohort.shares, strict=True):
        _, report = trained(experiment, {"weights": start}, 0, int(client), share=float(share))
        mean += share * report.weights.astype(sent_as).astype(np.float64)
    return mean.astype(np.float32)


def test_the_step_is_the_mean_of_clients_trained_apart():
    run = simulation()
    expected = mean_of_clients(run)
    run.round()
    np.testing.assert_array_equal(run.state["weights"], expected)


def test_what_clients_send_in_16_bits_is_rounded_and_takes_half_the_bytes():
    run = simulation(network={"codec": "float16"})
    expected = mean_of_clients(run, np.float16)
    row = run.round()
    np.testing.assert_array_equal(run.state["weights"], expected)
    assert row.columns["bytes_up_values"] == 4 * 2 * expected.size
    down, up = row.clients["bytes_down"], row.clients["bytes_up"]
    assert (down - up).tolist() == [2 * expected.size] * 4
    assert row.layers["bytes_up"].sum() == 4 * 2 * expected.size


def test_a_weight_beyond_16_bits_gets_its_client_rejected():
    run = simulation(network={"codec": "float16"}, clients={"max_rejected": 1.0})
    run.state["weights"][0] = 1e5  # the largest float16 is 65504
    before = run.state["weights"].copy()
    row = run.round()
    rejected = CLIENT_STATUS.index("rejected")
    assert row.clients["status"].tolist() == [rejected] * 4
    np.testing.assert_array_equal(run.state["weights"], before)


def test_a_round_counts_what_its_clients_did():
    run = simulation()
    row = run.round()
    cohort, sizes = cohort_of(run.experiment, 0), run.experiment.sizes
    clients, size = row.clients, run.experiment.layout.size
    assert clients["client"].tolist() == cohort.clients.tolist()
    assert clients["samples"].tolist() == sizes[cohort.clients].tolist()
    assert clients["steps"].tolist() == [-(-n // 16) for n in clients["samples"]]
    # Softmax regression on 64 pixels: forward and weight gradient, no input gradient below.
    assert clients["flops"].tolist() == [2 * 2 * 64 * 10 * n for n in clients["samples"]]
    message = len(codec.encode(np.zeros(size, np.float32), Support.all(run.experiment.layout)))
    assert clients["bytes_up"].tolist() == [message] * 4 == clients["bytes_down"].tolist()
    columns = row.columns
    assert columns["bytes_up"] == 4 * message and columns["bytes_up_values"] == 4 * 4 * size
    assert columns["flops"] == clients["flops"].sum()
    assert columns["density_up"] == columns["density_union"] == 1.0
    assert row.layers["bytes_up"].sum() == 4 * 4 * size and row.layers["kept"].tolist() == [1.0]
    shares, losses = cohort.shares, clients["train_loss"]
    assert columns["train_loss"] == pytest.approx((shares * losses).sum())


@pytest.mark.parametrize("learns", [False, True])
def test_a_selector_is_told_who_began_and_if_it_learns_how_the_round_ended(learns):
    run, told = simulation(), []
    selector = run.experiment.selector
    selector.learns, selector.begun, selector.learn = learns, told.append, told.append
    cohort, row = cohort_of(run.experiment, 0), run.round()
    begun, *learnt = told
    np.testing.assert_array_equal(begun, cohort.begun)
    assert len(learnt) == learns
    if learns:
        np.testing.assert_array_equal(learnt[0], row.clients)


def test_time_is_that_of_the_slowest_client_and_energy_that_of_all_round_after_round():
    run = simulation(devices={"power_w": 4.0, "idle_w": 0.5, "joule_per_mb": 3.0})
    devices, end = run.experiment.devices, 0.0
    for _ in range(3):
        row = run.round()
        clients = row.clients
        seconds = (
            2 * devices.latency_s[clients["client"]]
            + 8e-6 * clients["bytes_down"] / devices.down_mbit_s[clients["client"]]
            + 8e-6 * clients["bytes_up"] / devices.up_mbit_s[clients["client"]]
            + 1e-9 * clients["flops"] / devices.gflop_s[clients["client"]]
        )
        np.testing.assert_allclose(clients["virtual_end"], end + seconds)
        np.testing.assert_allclose(clients["virtual_start"], end)
        computing, moved = clients["seconds_compute"], clients["bytes_down"] + clients["bytes_up"]
        joules = 4.0 * computing + 0.5 * (seconds - computing) + 3e-6 * moved
        np.testing.assert_allclose(clients["joules"], joules)
        assert row.columns["joules"] == pytest.approx(joules.sum())
        end += seconds.max()
        assert row.columns["virtual_time"] == pytest.approx(end)


def test_layers_that_are_not_sent_cost_no_bytes():
    run = simulation(algorithm={"name": "fedlp", "p": 0.5}, model={"name": "mlp"})
    begun, fixed = run.state, run.experiment
    rows = [run.round() for _ in range(3)]
    kept = np.array([row.layers["kept"] for row in rows])
    assert 0 < kept.mean() < 1
    plans = [fixed.plan(begun, 0, int(client)) for client in rows[0].clients["client"]]
    sizes = [fixed.costs.messages().planned_up(plan).bytes for plan in plans]
    supports = sum(size.support for size in sizes)
    assert rows[0].columns["bytes_up_support"] == supports > 0
    assert rows[0].clients["bytes_up"].tolist() == [size.total for size in sizes]
    layers = np.diff(run.experiment.layout.starts("layer"))
    for row in rows:
        values = (row.layers["kept"] * 4 * 4 * layers).round()
        np.testing.assert_array_equal(row.layers["bytes_up"], values)
        assert row.columns["bytes_up_values"] == values.sum() < row.columns["bytes_down"]
        sent = row.columns["density_up"] * run.experiment.layout.size * 4 * 4
        assert sent == pytest.approx(values.sum())


def test_a_message_names_ten_of_the_rejected_clients():
    reasons = [(client, "too large" if client % 2 else "not finite") for client in range(11)]
    named = "0, 2, 4, 6, 8: not finite; 1, 3, 5, 7, 9: too large"
    assert rejections.names_of_rejected(reasons) == f"11 rejected ({named}; ...)"
    assert rejections.names_of_rejected(reasons[:10]) == f"10 rejected ({named})"


def test_a_client_whose_training_fails_has_no_loss():
    failed = Visit(Job(3, 0, {}, None, 0.5), None, [], [], reason="no memory")
    row = columns.client_row(failed, 7, 0)
    assert (row["client"], row["samples"], row["bytes_up"], row["kept"]) == (3, 7, 0, 0)
    assert np.isnan(row["train_loss"]) and CLIENT_STATUS[row["status"]] == "rejected"


def test_a_client_that_diverges_is_left_out_and_recorded():
    run = simulation()
    broken = int(cohort_of(run.experiment, 0).clients[1])
    trains = run.experiment.engine.train

    def train(jobs):
        for report in trains(jobs):
            if report.client == broken:
                report.weights[3] = np.nan
            yield report

    run.experiment.engine.train = train
    row = run.round()
    words = [CLIENT_STATUS[code] for code in row.clients["status"]]
    assert words == ["completed", "rejected", "completed", "completed"]
    assert row.rejected == [(broken, "its weights: NaN or infinity in a sum over clients, which "
                             "takes numbers below 262,144")]  # fmt: skip
    assert row.columns["clients_completed"] == 3 and row.columns["clients_selected"] == 4
    assert np.isfinite(run.state["weights"]).all() and np.isfinite(row.columns["train_loss"])


def test_ranks_that_selected_different_clients_are_told(monkeypatch):
    """Their sums would fit, and nothing but the rows of another rank shows it."""
    run = simulation()
    mine = sorted(cohort_of(run.experiment, 0).clients.tolist())
    other = min({*range(9)} - {*mine})

    def gathered(rows):
        rows = rows.copy()
        rows["client"][rows["client"] == mine[-1]] = other
        return rows

    monkeypatch.setattr(run.comm, "gather_rows", gathered)
    with pytest.raises(FedmpiError, match="do not agree on the clients of a round") as found:
        run.round()
    trained = ", ".join(map(str, sorted([*mine[:-1], other])))
    assert f"they trained {trained}, and a rank selected {str(mine)[1:-1]};" in str(found.value)


class ByColumns(FedAvg):
    """FedAvg whose state has arrays in another form than that of a checkpoint."""

    def start(self, weights):
        return {"weights": weights} | self.forms(weights)

    def step(self, state, sums, round):
        return super().step(state, sums, round) | self.forms(state["weights"])

    def forms(self, weights):
        square = np.resize(weights, (9, 9))
        return {"columns": square.T, "every": weights[::-3], "big": square.astype(">f4")}


def test_the_state_has_the_form_that_it_has_after_a_resume():
    """Sums of numpy depend on the order in memory, and so would the weights of a resumed run."""
    run = simulation(algorithm={"name": f"{__name__}:ByColumns"})
    for _ in range(2):
        for name, array in run.state.items():
            assert array.flags.c_contiguous and array.dtype == np.float32, name
        assert np.array_equal(run.state["columns"], run.state["big"].T)
        run.round()


def test_a_stop_in_mid_round_leaves_no_trace():
    class Asked:
        asked = ""

    stop = Asked()
    run, whole = simulation(stop), simulation()
    run.round(), whole.round()
    trains = run.experiment.engine.train

    def train(jobs):
        for report in trains(jobs):
            stop.asked = "SIGTERM"  # while the first client trains
            yield report

    run.experiment.engine.train = train
    assert run.round() is None and run.stopping
    assert run.next_round == 1 and run.virtual_time == whole.virtual_time
    np.testing.assert_array_equal(run.state["weights"], whole.state["weights"])


def test_evaluation_comes_as_often_as_asked_and_in_the_last_round():
    run = simulation(run={"eval_every": 3, "rounds": 5})
    seen = [np.isfinite(run.round().columns["test_accuracy"]) for _ in range(5)]
    assert seen == [False, False, True, False, True]


def test_the_server_optimiser_takes_the_place_of_the_mean():
    plain, damped = simulation(), simulation(server={"optimizer": "sgd", "lr": 0.5})
    start = plain.state["weights"].astype(np.float64)
    plain.round(), damped.round()
    half = (plain.state["weights"] + start) / 2
    np.testing.assert_allclose(damped.state["weights"], half, atol=1e-7)


def test_uploads_of_a_cell_share_its_capacity():
    alone, cell = (
        simulation(clients={"per_round": 9}, devices={"profile": "uniform"} | more).round()
        for more in ({}, {"cell_mbit_s": 0.5, "cell_clients": 3})
    )
    bits = 8.0 * cell.clients["bytes_up"].astype(float)
    for low in (0, 3, 6):  # links of 10 Mbit/s, so the cell is the limit
        own = slice(low, low + 3)
        begun = (cell.clients["seconds_down"] + cell.clients["seconds_compute"])[own] + 0.05
        seconds = cell.clients["virtual_end"][own].max() - begun.min()
        assert bits[own].sum() / 0.5e6 <= seconds + 1e-9
    assert (cell.clients["seconds_up"] > alone.clients["seconds_up"]).all()
    assert cell.columns["virtual_time"] == cell.clients["virtual_end"].max()
    np.testing.assert_array_equal(cell.clients["seconds_down"], alone.clients["seconds_down"])
    with pytest.raises(ConfigError, match=r"needs schedule\.mode"):
        simulation(devices={"cell_mbit_s": 1.0, "trace": "nights"})
