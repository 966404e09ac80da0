"""The reader: columns, targets, weights and the other contents of a run."""

import hashlib
import json
import os
import stat
import subprocess
import sys

import h5py
import numpy as np
import pytest

from fedmpi.analysis.report import page
from fedmpi.errors import ResultError
from fedmpi.record import reader, schema
from fedmpi.record.digest import weights_sha256
from fedmpi.record.table import coded
from tests.record import sample


@pytest.fixture
def path(tmp_path):
    """Return the name of a finished run of five rounds."""
    return sample.write(tmp_path / "out.h5")


def test_columns_by_name_and_by_attribute(path):
    run = reader.open(path)
    assert run.rounds.test_accuracy is run.rounds["test_accuracy"]
    assert (len(run.rounds), len(run.clients), run.phases.shape) == (5, 20, (5, 2))
    assert "flops" in run.clients and "flop" not in run.clients
    assert list(run.layers) == ["kept", "bytes_down", "bytes_up"]
    assert "virtual_time" in dir(run.rounds)
    said = "'flop' is not a column of rounds; did you mean flops"
    with pytest.raises(KeyError, match=said):
        run.rounds["flop"]
    with pytest.raises(AttributeError, match=said):
        run.rounds.flop  # noqa: B018
    with pytest.raises(ValueError, match="read-only"):
        run.rounds.flops[0] = 1


@pytest.mark.parametrize("values", [
    [b"slow", b"fast", b"slow", b"", "größer".encode(), b"z"], [b"one"] * 4, [], [3, 11, 3],
], ids=str)  # fmt: skip
def test_places_of_few_texts_are_those_of_unique(values):
    texts = [v.decode() if isinstance(v, bytes) else str(v) for v in values]
    names, places = np.unique(np.array(texts, object).astype(str), return_inverse=True)
    found = coded(np.array(values), max(len(names), 1))
    assert found[0] == names.tolist() and found[1].tolist() == places.tolist()
    if len(names) > 1:
        assert coded(np.array(values), len(names) - 1) == (None, None)


def test_targets_by_hand(tmp_path):
    accuracy = [0.1, np.nan, 0.5, 0.8, 0.6]
    run = reader.open(sample.write(tmp_path / "a.h5", accuracy=accuracy, cohort=4))
    assert run.rounds_to(0.5) == 3
    assert run.time_to(0.5) == 30.0
    assert run.bytes_to(0.5, "up") == 3 * 4 * 1000
    assert run.bytes_to(0.5, "down") == 3 * 4 * 2000
    assert run.bytes_to(0.5) == 3 * 4 * 3000
    assert run.time_to(0.1) == 10.0
    assert run.time_to(0.7) == run.time_to(0.80) == 40.0
    assert run.rounds_to(0.81) is run.time_to(0.81) is run.bytes_to(0.81) is None
    with pytest.raises(ResultError, match=r"target '0\.5': accuracies are from 0 to 1"):
        run.time_to("0.5")
    with pytest.raises(ResultError, match="direction 'left' is not one of up, down, both"):
        run.bytes_to(0.5, "left")


def test_info_is_json(path):
    info = json.loads(json.dumps(reader.open(path).info(), allow_nan=False))
    assert info["weights_sha256"] == weights_sha256(sample.weights())
    assert (info["status"], info["rounds"], info["ranks"], info["clients"]) == ("finished", 5, 2, 6)
    assert (info["bytes_up"], info["bytes_down"]) == (20_000, 40_000)
    assert (info["virtual_time"], info["wall_time"]) == (50.0, 2.0)
    assert info["final_accuracy"] == info["best_accuracy"] == 1 - 0.9**5
    assert info["phases"] == dict.fromkeys(schema.PHASES, round(1 / 7, 4))
    assert (info["memory_peak"], info["busy"]) == (404_000_000, round(1 / 7, 4))
    assert info["provenance"]["libraries"] == {"numpy": np.__version__}


def test_a_run_without_rounds(tmp_path):
    run = reader.open(sample.write(tmp_path / "a.h5", rounds=0, status="failed"))
    assert run.info()["final_accuracy"] is None
    assert run.info()["phases"] == dict.fromkeys(schema.PHASES)
    assert run.info()["memory_peak"] is run.info()["busy"] is None
    assert run.rounds_to(0.0) is None
    with pytest.raises(ResultError, match="holds no weights, its status is failed"):
        run.model()


def test_what_is_open_does_not_change_under_the_reader(path):
    old = reader.open(path)
    sample.Writer.reopen(path, 2).commit()
    assert (len(old.rounds.flops), len(reader.open(path).rounds.flops)) == (5, 2)
    old.close()
    with pytest.raises(ResultError, match="has been closed; open it again"):
        old.clients.flops  # noqa: B018
    assert len(old.rounds.flops) == 5


def test_a_file_that_nobody_closed_does_not_crash_python_as_it_ends(path):
    """A cycle of objects holds it, and Python does not collect unused objects."""
    code = ("import gc, sys; from fedmpi.record import reader; run = reader.open(sys.argv[1]); "
            "run.itself = run; del run; gc.freeze()")
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_to_pandas(path):
    pytest.importorskip("pandas")
    run = reader.open(path)
    assert run.rounds.to_pandas()["virtual_time"].tolist() == [10.0, 20.0, 30.0, 40.0, 50.0]
    assert run.clients.to_pandas()["status"].tolist()[:2] == ["completed", "late"]
    phases = run.phases.to_pandas()
    assert phases.loc[(3, 1), "wait"] == 3.0
    assert phases.index.names == ["row", "rank"]


def test_reading_loads_neither_mpi_nor_torch_nor_plots(path, run_python):
    code = (
        "import sys, fedmpi.record.reader as r, fedmpi.analysis.compare, fedmpi.analysis.curves,"
        "fedmpi.analysis.text_tables, fedmpi.analysis.draw, fedmpi.record.upgrade\n"
        "r.open(sys.argv[1]).info()\n"
        "slow = {'torch', 'mpi4py', 'numba', 'matplotlib', 'pandas', 'scipy', 'pydantic', 'rich'}\n"
        "sys.exit(str(slow & sys.modules.keys()) if slow & sys.modules.keys() else 0)"
    )
    done = run_python("-c", code, path)
    assert done.returncode == 0, done.stderr


def test_digest_by_hand():
    text = b"a\0<f4\x002\0" + np.array([1, 2], "<f4").tobytes() + b"b\0<i8\0\0" + bytes(8)
    arrays = {"b": np.zeros((), ">i8"), "a": np.array([1, 2], ">f4")}
    assert weights_sha256(arrays) == hashlib.sha256(text).hexdigest()
    turned = {"a": np.array([[1, 2], [3, 4]], "<f4").T}
    assert weights_sha256(turned) == weights_sha256({"a": np.array([[1, 3], [2, 4]], "<f4")})
    assert weights_sha256({"a": np.zeros(2)}) != weights_sha256({"a": np.zeros((2, 1))})
    assert len({weights_sha256({}), weights_sha256({"a": np.zeros(0)})}) == 2


@pytest.mark.parametrize("target", [60, 1.001, -0.1, float("nan")])
def test_a_target_in_per_cent_is_refused(tmp_path, target):
    run = reader.open(sample.write(tmp_path / "a.h5"))
    with pytest.raises(ResultError, match=r"60 % is 0\.60"):
        run.bytes_to(target)


def test_a_file_that_others_in_this_process_have_open_is_read(tmp_path):
    path = sample.write(tmp_path / "out.h5")
    for locking in (True, False):
        with h5py.File(path, "r", locking=locking), reader.open(path) as run:
            assert len(run.rounds.flops) == 5
    with reader.open(path) as run, h5py.File(path, "r") as file:
        assert len(file["rounds/flops"]) == len(run.rounds.flops)
    with h5py.File(path, "r+"):
        assert reader.open(path).status == "finished"


def test_a_pipe_is_refused_at_once_to_read_and_to_write(tmp_path):
    os.mkfifo(tmp_path / "page.html")
    with pytest.raises(ResultError, match="is a device, pipe or socket"):
        reader.open(tmp_path / "page.html")
    run = reader.open(sample.write(tmp_path / "out.h5"))
    with pytest.raises(ResultError, match="a folder, device, pipe or socket"):
        page.write([run], tmp_path / "page.html", overwrite=True)
    assert stat.S_ISFIFO(os.stat(tmp_path / "page.html").st_mode)
