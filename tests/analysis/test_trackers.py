"""Result files as trackers see them: read back with the trackers' own libraries."""

import csv
import errno
import json
import struct
import sys

import pytest

from fedmpi import cli
from fedmpi.analysis import trackers
from fedmpi.record import reader
from tests.record import sample

NAN = float("nan")
ACCURACY = [NAN, 0.25, NAN, 0.5]


@pytest.fixture
def out(tmp_path):
    """Return the path of a result with four rounds and two evaluations."""
    return sample.write(tmp_path / "a.h5", rounds=4, accuracy=ACCURACY, cost=2.0)


def exported(tmp_path, out, kind):
    """Run the verb; return the folder of the run."""
    assert cli.main(["export", str(out), "--to", kind, "-o", str(tmp_path / "x")]) == 0
    return tmp_path / "x/a"


def test_csv_has_every_column_and_needs_no_library(tmp_path, out, capsys):
    place = exported(tmp_path, out, "csv")
    with (place / "rounds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["bytes_up"]) for row in rows] == [8000] * 4
    assert [row["test_accuracy"] for row in rows][1::2] == ["0.25", "0.5"]
    with (place / "clients.csv").open() as file, reader.open(out) as run:
        assert len(list(csv.DictReader(file))) == len(run.clients) == 16
        assert json.loads((place / "config.json").read_text()) == run.config
    assert "csv in" in capsys.readouterr().err
    assert cli.main(["export", str(out), "-o", str(tmp_path / "x")]) == 1
    assert "exists; name another folder with -o" in capsys.readouterr().err
    assert cli.main(["export", str(out), str(out)]) == 1
    assert "two of the files have this name" in capsys.readouterr().err


def test_an_export_that_breaks_off_can_be_repeated(tmp_path, out, monkeypatch, capsys):
    """What it had written was in the way of the same command."""
    other = sample.write(tmp_path / "b.h5")
    words = ["export", str(out), str(other), "-o", str(tmp_path / "x")]
    whole, calls = trackers.text_tables.as_json, []

    def full(value, indent):
        calls.append(value)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(value, indent)

    monkeypatch.setattr(trackers.text_tables, "as_json", full)
    assert cli.main(words) == 1
    assert "x: No space left on device; cannot be written" in capsys.readouterr().err
    assert not list((tmp_path / "x").iterdir())
    assert cli.main(words) == 0
    assert sorted(path.name for path in (tmp_path / "x/b").iterdir()) == [
        "clients.csv", "config.json", "info.json", "rounds.csv"]


@pytest.mark.parametrize("name", ["a#b", "a%20b", "a?b"])
def test_a_folder_that_mlflow_would_misread_is_refused(tmp_path, out, name, capsys):
    assert cli.main(["export", str(out), "--to", "mlflow", "-o", str(tmp_path / name)]) == 1
    assert f"with {name[1]} in its path; name another folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_library_that_is_missing_is_named(tmp_path, out, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert cli.main(["export", str(out), "--to", "wandb", "-o", str(tmp_path / "x")]) == 1
    assert "--to wandb needs wandb: pip install 'fedmpi[trackers]'" in capsys.readouterr().err


def test_tensorboard_reads_steps_values_and_times(tmp_path, out):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(exported(tmp_path, out, "tensorboard")))
    found.Reload()
    accuracy = found.Scalars("rounds/test_accuracy")
    assert [(event.step, event.value) for event in accuracy] == [(2, 0.25), (4, 0.5)]
    virtual = found.Scalars("rounds/virtual_time")
    assert [event.value for event in virtual] == [20.0, 40.0, 60.0, 80.0]
    assert virtual[3].wall_time - virtual[1].wall_time == pytest.approx(1.0, abs=1e-3)
    assert "_hparams_/session_start_info" in found.summary_metadata


@pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")  # of mlflow's, by SQLAlchemy 2.1
def test_mlflow_reads_parameters_and_metrics(tmp_path, out):
    tracking = pytest.importorskip("mlflow.tracking")
    pytest.importorskip("alembic")
    exported(tmp_path, out, "mlflow")
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/x/mlflow.db")
    experiment = client.get_experiment_by_name("fedmpi")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["algorithm.name"] == "fedavg" and run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "test_accuracy")
    assert [(metric.step, metric.value) for metric in history] == [(2, 0.25), (4, 0.5)]


def records(data):
    """Yield the records of a .wandb file: LevelDB's log, in blocks of 32 KiB, after 7 bytes."""
    at, parts = 7, []
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


def test_wandb_reads_the_offline_run(tmp_path, out):
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    place = exported(tmp_path, out, "wandb")
    (path,) = place.glob("wandb/offline-run-*/*.wandb")
    found = [Record.FromString(data) for data in records(path.read_bytes())]
    history = [{(item.key or item.nested_key[0]): json.loads(item.value_json)
                for item in record.history.item} for record in found if record.HasField("history")]
    assert [(row["_step"], row["test_accuracy"]) for row in history
            if "test_accuracy" in row] == [(2, 0.25), (4, 0.5)]


def test_parameters_are_flat_and_plain(out):
    with reader.open(out) as run:
        run.config["a"] = {"list": [1, 2], "none": None, "flag": True}
        found = trackers.parameters(run)
    assert found["a.list"] == "[1, 2]" and found["a.flag"] is True and "a.none" not in found
