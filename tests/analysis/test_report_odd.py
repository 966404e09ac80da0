"""Reports of files that are empty, half done, large or strange."""

import re
from collections import Counter

import numpy as np
import pytest

from fedmpi.analysis.report.page import page
from fedmpi.errors import ResultError
from fedmpi.record import reader
from fedmpi.record.source import Source
from tests.analysis.pages import Page
from tests.record import sample

WRONG = ("nan", "inf", "none", "null")


def words(found):
    """Return all words that a page shows, except configurations and provenance."""
    shown = " ".join(found.shown).lower()
    return set(shown[: shown.index("events")].replace("(", " ").split())


def strange(path, rounds=4, **given):
    """Write a file with odd values of clients and rounds; return its Run."""
    writer = sample.Writer.create(path, **sample.fixed())
    for number in range(rounds):
        row, clients, phases, split = sample.one_round(number)
        row |= given
        clients["client"] = np.array([7, 0, 99, 5])
        clients["status"] = np.array([0, 0, 0, 200])
        clients["seconds_up"] = np.array([1.0, np.nan, 1e29, 1.0])
        clients["virtual_end"] = np.array([np.nan, 1e29, 0, 0])
        phases[:, 1] = np.nan
        split["kept"] = np.array([np.nan, 0.0, 1.0])
        writer.append(row, clients, phases, split)
    writer.finish("failed", None, None)
    return reader.open(path)


@pytest.mark.parametrize("names", [
    {"rounds": 0},
    {"rounds": 0, "status": "running"},
    {"rounds": 1},
    {"rounds": 3, "status": "running"},
    {"rounds": 3, "status": "stopped"},
    {"rounds": 3, "accuracy": [np.nan] * 3},
    {"rounds": 3, "accuracy": [np.nan, 0.5, np.nan]},
    {"rounds": 3, "accuracy": [0.0] * 3},
    {"rounds": 2, "cohort": 1, "ranks": 1, "clients": 2},
    {"rounds": 2, "cost": 0.0},
    {"rounds": 2, "ranks": 40},
], ids=str)  # fmt: skip
def test_a_run_however_short(tmp_path, names):
    run = reader.open(sample.write(tmp_path / "a.h5", **names))
    found = Page(page([run]))
    (row,) = found.table("Accuracy and cost")
    assert (row["Rounds"], row["Status"]) == (str(names["rounds"]), names.get("status", "finished"))
    assert not words(found) & set(WRONG)
    other = reader.open(sample.write(tmp_path / "b.h5", algorithm="fedlp", rounds=4))
    assert not words(Page(page([run, other]))) & set(WRONG)
    assert not words(Page(page([other, run], 0.3))) & set(WRONG)


def test_seeds_of_which_one_was_killed(tmp_path):
    paths = [sample.write(tmp_path / "a.h5", rounds=5),
             sample.write(tmp_path / "b.h5", rounds=2, status="running"),
             sample.write(tmp_path / "c.h5", rounds=0, status="running")]
    found = Page(page([reader.open(path) for path in paths]))
    (row,) = found.table("Accuracy and cost")
    assert (row["Rounds"], row["Status"]) == ("0 to 5", "1 finished, 2 running")
    assert ("Beware: unfinished runs count as far as they got: b (running or killed, 2 rounds), "
            "c (running or killed, 0 rounds).") in found.shown
    assert any("several runs with the same seed" in text for text in found.shown)


@pytest.mark.parametrize("given", [
    {},
    {"virtual_time": np.nan, "wall_time": np.nan, "train_loss": np.nan},
    {"test_loss": np.inf, "test_accuracy": np.nan, "train_loss": -np.inf},
    {"bytes_up": 2**62, "bytes_down": 0, "flops": 2**62, "clients_selected": 0},
    {"density_up": np.nan, "model_density": np.nan, "collective": 99},
], ids=str)  # fmt: skip
def test_numbers_that_are_odd(tmp_path, given):
    Page(page([strange(tmp_path / "a.h5", **given)]))
    other = reader.open(sample.write(tmp_path / "b.h5", algorithm="fedlp"))
    found = Page(page([other, strange(tmp_path / "c.h5", **given)]))
    numbers = " ".join(a.get("d", "") for a in found.all("path"))
    assert "nan" not in numbers and "inf" not in numbers


@pytest.mark.parametrize(("name", "value"), [
    ("bytes_up", -5), ("bytes_down", -(2**62)), ("test_accuracy", -np.inf),
    ("virtual_time", np.inf),
])  # fmt: skip
def test_numbers_that_cannot_be_are_refused(tmp_path, name, value):
    with pytest.raises(ResultError, match=f"damaged, /rounds/{name} holds"):
        page([strange(tmp_path / "a.h5", **{name: value})])


@pytest.mark.parametrize("resolved", [
    {}, {"run": 3, "model": None}, {"algorithm": {"name": None}},
    {"data": {"alpha": [1, {"a": 2}]}}, {"schedule": {"mode": "async"}},
], ids=str)  # fmt: skip
def test_configurations_of_another_shape(tmp_path, resolved):
    writer = sample.Writer.create(tmp_path / "a.h5", **sample.fixed() | {"resolved": resolved})
    writer.append(*sample.one_round(0))
    writer.commit()
    run = reader.open(tmp_path / "a.h5")
    Page(page([run]))
    Page(page([run, reader.open(sample.write(tmp_path / "b.h5"))]))


@pytest.mark.parametrize(("clients", "classes"),
                         [(1, 1), (3, 1), (200, 2), (201, 100), (10_000, 62)])
def test_any_number_of_clients_and_classes_is_drawn_small(tmp_path, clients, classes, rng):
    fixed = sample.fixed(clients=max(clients, 5))
    fixed["partition_counts"] = rng.integers(0, 9, (clients, classes))
    fixed["devices"] = {"tier": [f"tier {i}" for i in range(clients)], "x": np.arange(clients)}
    writer = sample.Writer.create(tmp_path / "a.h5", **fixed)
    writer.append(*sample.one_round(0, cohort=1))
    writer.commit()
    text = page([reader.open(tmp_path / "a.h5")])
    assert f"{clients:,}" in Page(text).table("Partitions")[0]["Clients"]
    assert len(text) < 200_000


def test_a_report_reads_a_dataset_once_and_decodes_no_tier_of_a_client(tmp_path, monkeypatch):
    run, read = reader.open(sample.write(tmp_path / "a.h5", clients=5000)), Counter()

    def counting(name, do):
        """Replace a method of Source by one that counts its calls for each dataset."""
        monkeypatch.setattr(Source, name, lambda source, path, *dtype: read.update(
            [f"{name} {path}"]) or do(source, path, *dtype))

    counting("read", Source.read)
    counting("stored", Source.stored)
    text = page([run])
    assert "read devices/tier" not in read and read["stored devices/tier"] == 1
    assert read["read partition/counts"] == read["read clients/virtual_end"] == 1
    assert max(read.values()) == 1
    (sizes,) = re.findall(r'<path class="p0" d="(M[^"]*)Z"', text)
    assert 100 < sizes.count("V") <= 201  # of 5,000 clients


def test_twenty_long_runs_fit_in_a_megabyte(tmp_path, rng):
    runs = []
    for number in range(20):
        fixed = sample.fixed(clients=1000, algorithm=f"method {number}")
        fixed["layer_names"] = [f"layer {i}" for i in range(20)]
        writer = sample.Writer.create(tmp_path / f"{number}.h5", **fixed)
        for round in range(1000):
            row, clients, phases, _ = sample.one_round(round)
            row |= {"test_accuracy": rng.random(), "train_loss": rng.random(),
                    "test_loss": rng.random(), "local_accuracy": rng.random(),
                    "density_up": rng.random(), "density_union": rng.random(),
                    "model_density": rng.random(),
                    "bytes_up": int(rng.integers(1e6)), "bytes_down": int(rng.integers(1e6))}
            none = np.zeros(20, int)
            split = {"kept": rng.random(20), "bytes_down": none, "bytes_up": none}
            writer.append(row, clients, phases, split)
        writer.commit()
        runs.append(reader.open(tmp_path / f"{number}.h5"))
    text = page(runs)
    Page(text)
    assert 400_000 < len(text.encode()) < 1_000_000


def test_clients_that_draw_their_samples_have_no_classes(tmp_path):
    fixed = sample.fixed() | {"partition_counts": np.array([[3], [5]]), "devices": {}}
    sample.Writer.create(tmp_path / "a.h5", **fixed).commit()
    runs = [reader.open(tmp_path / "a.h5"), reader.open(sample.write(tmp_path / "b.h5"))]
    text = page(runs[:1])
    assert "Samples of each client" in text and "Classes of each client" not in text
    first, second = Page(page(runs)).table("Partitions")
    assert (first["Samples"], first["Distance to iid"]) == ("8", "-")
    assert second["Classes per client"] == "9 / 10 / 10"
