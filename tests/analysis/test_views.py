"""The traffic as each paper would count it, against numbers worked out by hand."""

import json

import numpy as np
import pytest

from fedmpi.analysis import own_models, views
from fedmpi.errors import ResultError
from fedmpi.record import reader
from fedmpi.record.digest import weights_sha256
from tests.record import sample

# Two layers: a convolution of 6 weights, a scale and a running mean of 1 each; a linear one of 4.
MODEL = {
    "conv1.weight": np.ones((1, 6, 1, 1), np.float32),
    "bn1.weight": np.ones(1, np.float32),
    "bn1.running_mean": np.ones(1, np.float32),
    "fc1.weight": np.ones((2, 2), np.float32),
}
SIZES = np.array([8, 4])  # coordinates of the layers
COHORT = 2


def write(path, rounds, algorithm, down=SIZES, up=SIZES, kept=1.0, planned=None, model=MODEL,
          inference=None, own=None, rows=True):  # fmt: skip
    """Return the Run of a file in which each client gets `down` and sends `up` values."""
    fixed = sample.fixed()
    fixed["resolved"] = {"run": {"rounds": planned or rounds}, "algorithm": algorithm}
    fixed["layer_names"] = ("conv1", "fc1")
    writer = sample.Writer.create(path, **fixed)
    for number in range(rounds):
        row, clients, phases, _ = sample.one_round(number, COHORT)
        row["flops_inference"] = 2e6 if inference is None else inference[number]
        row["own_mean_accuracy"] = np.nan if own is None else own[number]
        clients["kept"] = np.full(COHORT, kept)
        clients = {name: values if rows else values[:0] for name, values in clients.items()}
        split = {"kept": np.ones(2), "bytes_down": 4 * COHORT * np.asarray(down),
                 "bytes_up": 4 * COHORT * np.asarray(up)}  # fmt: skip
        writer.append(row, clients, phases, split)
    writer.finish("finished", model, model and weights_sha256(model))
    return reader.open(path)


def test_fedavg_is_the_whole_model_in_all_views(tmp_path):
    run = write(tmp_path / "a.h5", 4, {"name": "fedavg"})
    found = views.view(run)
    assert found["bytes"] == 4 * COHORT * 3000
    assert found["fedlp"] == 2 * 11  # the running mean is free
    assert found["feddip"] == pytest.approx(4 * COHORT * 2 * 32 * 12 / 2**20)
    assert found["feddst_down"] == pytest.approx(0.032 * 12 * 3 / 4)  # the first model is free
    assert found["feddst_up"] == pytest.approx(0.032 * 12)
    assert (found["lotteryfl"], found["lg_fedavg"]) == (1.0, 1.0)
    json.dumps(found, allow_nan=False)


def test_fedlp_counts_the_layers_that_travel(tmp_path):
    run = write(tmp_path / "a.h5", 3, {"name": "fedlp"}, up=[8, 0], kept=8 / 12)
    assert views.view(run)["fedlp"] == 11 + 7
    assert views.view(run)["lg_fedavg"] == pytest.approx(8 / 12)


@pytest.mark.parametrize(("end", "saved"), [(0.9, 0.400), (0.95, 0.419), (0.99, 0.434)])
def test_feddip_saves_what_its_schedule_promises(tmp_path, end, saved):
    keys = {"name": "feddip", "start": 0.5, "end": end, "every": 5}
    dense = write(tmp_path / "a.h5", 1000, {"name": "fedavg"})
    # The mask between two of its changes has no part in this view.
    run = write(tmp_path / "b.h5", 1000, keys, down=[3, 0])
    paid = [views.feddip(r, views.traffic(r)) for r in (run, dense)]
    assert 1 - paid[0] / paid[1] == pytest.approx(saved, abs=6e-4)


def test_feddip_takes_the_schedule_of_the_rounds_planned(tmp_path):
    keys = {"name": "feddip", "start": 0.0, "end": 0.5, "every": 5}
    run = write(tmp_path / "a.h5", 1, keys, planned=100)
    bits = views.feddip(run, views.traffic(run)) * 2**20
    assert bits == pytest.approx(32 * COHORT * 2 * 12)  # still s_0 = 0


def test_feddst_pays_for_masks_when_they_change(tmp_path):
    keys = {"name": "feddst", "sparsity": 0.8, "every": 2}
    run = write(tmp_path / "a.h5", 4, keys, down=[2, 1], up=[2, 1])
    # Clients change masks in round 2, and all learn of the new one in round 3.
    down, up = views.feddst(run, views.traffic(run))
    assert 1000 * down == pytest.approx((3 * 32 * 3 + 10) / 4)
    assert 1000 * up == pytest.approx((4 * 32 * 3 + 0.2 * 10) / 4)


def test_prunefl_pays_for_the_first_model_and_for_masks(tmp_path):
    keys = {"name": "prunefl", "every": 2}
    run = write(tmp_path / "a.h5", 4, keys, down=[2, 1], up=[2, 1])
    bits = 32 * COHORT * 4 * 6 + 36 * 12 * 6 + 4 * COHORT * 3
    assert views.feddip(run, views.traffic(run)) == pytest.approx(bits / 2**20)


def test_lotteryfl_leaves_out_what_is_never_pruned(tmp_path):
    run = write(tmp_path / "a.h5", 2, {"name": "lotteryfl"}, kept=7 / 12)  # 5 of 10 weights, 2 more
    assert views.view(run)["lotteryfl"] == pytest.approx(0.5)
    run = write(tmp_path / "b.h5", 2, {"name": "fedskel"}, kept=7 / 12)
    assert views.view(run)["lotteryfl"] == pytest.approx(7 / 12)


def test_shares_of_clients_are_unknown_without_rows_of_clients(tmp_path):
    run = write(tmp_path / "a.h5", 2, {"name": "fedskel"}, up=[4, 2], rows=False)
    found = views.view(run)
    assert (found["lotteryfl"], found["lg_fedavg"]) == (None, None)
    assert found["fedlp"] == 11 + 4 * 7 / 8 + 2
    upper, _ = views.text(["a"], [found]).split("\n\n")  # inference has the lower table
    assert upper.splitlines()[-1].split()[-2:] == ["-", "-"]


def test_inference_is_that_of_the_last_model_against_the_first_run(tmp_path):
    """Two million FLOPs fall to 980 thousand: ADP v1 at 0.7 in a chain, 49 %."""
    runs = []
    for name, flops in (("dense", (2e6, 2e6)), ("gated", (2e6, 0.98e6)), ("old", (np.nan,) * 2)):
        run = write(tmp_path / f"{name}.h5", 2, {"name": "adp-v1"}, inference=flops)
        runs.append(run)
    found = [views.view(run) for run in runs]
    assert [view["inference"] for view in found] == [2e6, 0.98e6, None]
    lines = views.text(["dense", "gated", "old"], found).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[-2:] for line in lines[-2:]] == [["51", "%"], ["-", "-"]]
    assert lines[-2].split()[-3] == "0.98" and lines[-3].split()[-3:] == ["2", "0", "%"]


def test_runs_without_weights_have_no_views(tmp_path):
    blind = write(tmp_path / "a.h5", 2, {"name": "fedavg"}, model=None)
    empty = write(tmp_path / "b.h5", 0, {"name": "fedavg"})
    assert views.view(blind) is None
    assert views.view(empty) is None
    with pytest.raises(ResultError, match=r"c\.h5: damaged, .*'every'"):
        views.view(write(tmp_path / "c.h5", 2, {"name": "feddst"}))
    text = views.text(["a", "b"], [None, None])
    assert "nan" not in text
    shown = [line for line in text.splitlines() if line.startswith("b ")]
    assert " ".join(shown).split() == ["b", *"-------", "b", *"--"]


def test_scores_are_last_and_best_of_three_models(tmp_path):
    """Two runs of six evaluations; the first has no own models, so their mean is the global one."""
    dense = write(tmp_path / "a.h5", 6, {"name": "fedavg"})
    own = write(tmp_path / "b.h5", 6, {"name": "fedskel"}, own=np.arange(6) / 8, up=[4, 2])
    found = [own_models.scores(run) for run in (dense, own)]
    accuracy = 1 - 0.9 ** np.arange(1, 7)  # of sample.one_round
    assert found[0]["mean of own"] == found[0]["global"] == found[1]["global"]
    assert found[0]["global"] == pytest.approx({"last": accuracy[1:].mean(), "best": accuracy[5]})
    assert found[1]["mean of own"] == pytest.approx({"last": 3 / 8, "best": 5 / 8})
    lines = own_models.text(["a", "b"], found).splitlines()
    assert f"62.50 ({62.5 - 100 * accuracy[5]:+.2f})" in lines[-2]
    json.dumps(found, allow_nan=False)


def test_the_switch_shows_them_and_json_holds_them(tmp_path, run_fedmpi):
    path = tmp_path / "dense.h5"
    write(path, 2, {"name": "fedavg"})
    shown = run_fedmpi("compare", path, "--views", "--no-curves")
    assert shown.returncode == 0
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[:4] == ["dense", "12", "kB", "22"] for line in lines)
    shown = run_fedmpi("compare", "--views", "fedskel", path, "--no-curves")
    assert any(line.split()[:3] == ["mean", "of", "own"] for line in shown.stdout.splitlines())
    rows = json.loads(run_fedmpi("compare", path, "--views", "--json").stdout)["rows"]
    assert rows[0]["views"]["fedlp"] == 22
    rows = json.loads(run_fedmpi("compare", path, "--json").stdout)["rows"]
    assert "views" not in rows[0]


def test_columns_of_a_figure_without_a_figure_are_refused(tmp_path, run_fedmpi):
    write(tmp_path / "a.h5", 2, {"name": "fedavg"})
    shown = run_fedmpi("compare", tmp_path / "a.h5", "--columns", "1")
    assert shown.returncode == 2 and not shown.stdout
    assert "--columns 1: is for a figure; add --figure FILE" in shown.stderr
